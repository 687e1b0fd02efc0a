"""Claims on what trimmed models answer, and on which sublayers are dropped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations, product
from statistics import fmean

from trimllm.base.names import PAPER_CRITERIA, PAPER_CRITERION
from trimllm_paper import derive
from trimllm_paper.claims.evidence import (
    PAPER_DOMAINS,
    Comparison,
    Estimate,
    Evidence,
    Finding,
    compare,
    keeps_90,
)
from trimllm_paper.derive import Chain
from trimllm_paper.published import NEAR
from trimllm_paper.recipe import FULL_FT, PRETRAINED
from trimllm_paper.verdict import PAPER_MARGIN, lost_at_home

COMPRESSED = (50, 40)
"""Percent of the sublayers kept at a compression of 50 to 60%."""
LAYERS = {"sciq": 100 * 20 / 32, "medmcqa": 100 * 16 / 32}
"""Domain -> percent of the decoder layers that the paper removes."""
RATIOS = (1.0, 0.5, 0.25, 0.125)
Checkpoints = Mapping[float, Comparison]
"""Percent of the sublayers dropped -> accuracy against 90% of Full-FT's."""


def no_loss_50(evidence: Evidence) -> Finding:
    """The paper's own criterion C_a in every domain, at both ends of 50 to 60% compression."""
    domains, comparisons = evidence.context.domains, []
    missing = evidence.lacking([one.name for one in domains], "the models")
    for domain, kept in product(domains, COMPRESSED):
        full, trimmed = evidence.accuracy(domain, FULL_FT), evidence.trimmed(domain, kept)
        name = f"{domain.name} at {kept}%"
        if full and trimmed:
            comparisons.append(keeps_90(name, trimmed, full))
        else:
            missing.append(name)
    return Finding(comparisons, missing, evidence.context.own)


def layers_dropped(evidence: Evidence) -> Finding:
    """How far the chain goes above 90% of Full-FT; two sublayers are a decoder layer.

    It goes so far if a checkpoint there or beyond is above the bar, and does not if all of them and
    the last one before are below.
    """
    comparisons, missing = [], []
    domains = {one.name: one for one in evidence.context.domains}
    unit = "% dropped above 90% of Full-FT"
    for name, share in LAYERS.items():
        every = evidence.keeps(domains[name], evidence.chain()) if name in domains else {}
        last = max((dropped for dropped in every if dropped <= share + 1e-9), default=None)
        beyond = [one.p_holds for dropped, one in every.items() if dropped >= share - 1e-9]
        if last is not None:
            p_fails = max(one.p_fails for dropped, one in every.items() if dropped >= last)
            ps, basis = (min(beyond, default=1.0), p_fails), every[last].basis
            label = f"{name}, {share:g}% or more"
            comparisons.append(Comparison(label, _furthest(every), unit, *ps, basis))
        if not beyond:
            missing.append(f"{name} with {share:g}% dropped")
    return Finding(comparisons, missing, evidence.context.own)


def both_best(evidence: Evidence) -> Finding:
    """Final Mem by both criteria against that by each alone, at every r."""
    others = [one for one in PAPER_CRITERIA if one != PAPER_CRITERION]
    pairs = [((PAPER_CRITERION, r), (other, r)) for r in RATIOS for other in others]
    return _goes_further(evidence, pairs, strictly=False)


def r_quarter_best(evidence: Evidence) -> Finding:
    """Final Mem at r = 1/4 against that at every other r."""
    criterion = evidence.criterion
    pairs = [((criterion, 0.25), (criterion, r)) for r in RATIOS if r != 0.25]
    return _goes_further(evidence, pairs, strictly=True)


def _goes_further(
    evidence: Evidence, pairs: Sequence[tuple[tuple[str, float], ...]], *, strictly: bool
) -> Finding:
    """Whether the first chain (criterion, ratio) of each pair drops as much above 90% of Full-FT as
    the second, or strictly more, in every domain that has both, as far as the shorter one goes."""
    comparisons, missing, domains = [], dict[str, None](), set[str]()
    for pair in pairs:
        names = [f"{criterion} r={ratio:g}" for criterion, ratio in pair]
        missing |= dict.fromkeys(names)
        for domain in evidence.context.domains:
            chains = [evidence.keeps(domain, evidence.chain(*key)) for key in pair]
            end = min(max(chain, default=0.0) for chain in chains) + 1e-9
            one, other = ({d: x for d, x in chain.items() if d <= end} for chain in chains)
            if not one or not other:
                continue
            reached = _furthest(one), _furthest(other)
            if any(reached):  # where nothing can be dropped, none is better
                ps = _p_further(one, other, strictly), _p_further(other, one, not strictly)
                name, more = f"{domain.name}: {' over '.join(names)}", reached[0] - reached[1]
                basis, unit = next(iter(one.values())).basis, "points of sublayers more dropped"
                comparisons.append(Comparison(name, more, unit, *ps, basis))
            domains.add(domain.name)
            missing = {name: None for name in missing if name not in names}
    own = evidence.context.own and domains >= {*PAPER_DOMAINS}
    return Finding(comparisons, [*missing], own)


def _furthest(checkpoints: Checkpoints) -> float:
    """Most that is dropped at an accuracy above 90% of Full-FT, intervals aside."""
    return max((dropped for dropped, one in checkpoints.items() if one.value > 0), default=0.0)


def _p_further(one: Checkpoints, other: Checkpoints, strictly: bool) -> float:
    """One-sided p that a chain goes strictly further than another, or at least as far.

    It does if at some drop it is above the bar, and the other is below at every drop beyond
    (`strictly`: and there): as surely as the least sure of these, at the best such drop. To drop
    nothing passes for sure.
    """
    passes = {dropped: x.p_holds for dropped, x in one.items()} | ({} if strictly else {0.0: 0.0})
    return min(
        max(p, *(x.p_fails for d, x in other.items() if d > at or strictly and d == at), 0.0)
        for at, p in passes.items()
    )


def mlp_more_than_attention(evidence: Evidence) -> Finding:
    """Kinds of the sublayers dropped until half are gone; chains are the unit."""
    chains, missing = evidence.halved()
    if not chains:
        return Finding(missing=missing)
    kinds = [[kind for _, kind in derive.dropped(chain)] for chain in chains]
    share = Estimate.mean([100 * one.count("mlp") / len(one) for one in kinds], "chains")
    comparison = compare("MLPs", share, "% of the dropped sublayers", 50)
    return Finding([comparison], missing, evidence.context.own, pooled=True)


def specialization(evidence: Evidence) -> Finding:
    """Patterns differ between domains by more than between seeds; accuracy falls on unrelated
    domains and not on near ones.

    A pretrained model at chance has nothing to lose, and the fall of a model that has lost its own
    domain, too, is no sign of specialization. Not to fall is to fall by less than the paper's own
    test sets resolve.
    """
    chains, missing = evidence.halved()
    patterns, (cross, untested) = _patterns(chains), _cross(evidence)
    missing += [] if patterns else ["the chains under a second seed"]
    return Finding([*patterns, *cross], missing + untested, evidence.context.own)


def _patterns(chains: Sequence[Chain]) -> list[Comparison]:
    """How much more two seeds of a domain agree than two domains do, by their share of common drops
    (Jaccard); a value a domain. Without a second seed and domain there is nothing to compare."""
    sets: dict[str, list[set[tuple[int, str]]]] = {}
    for chain in chains:
        sets.setdefault(chain[0].domain, []).append({*derive.dropped(chain)})
    gains = []
    for domain, own in sets.items():
        others = [one for name, each in sets.items() if name != domain for one in each]
        if others and len(own) > 1:
            seeds = fmean(len(a & b) / len(a | b) for a, b in combinations(own, 2))
            domains = fmean(len(a & b) / len(a | b) for a, b in product(own, others))
            gains.append(100 * (seeds - domains))
    if not gains:
        return []
    # Just above 0: no difference at all refutes the claim.
    gain, unit = Estimate.mean(gains, "domains"), "points more overlap between seeds"
    return [compare("patterns", gain, unit, 1e-9)]


def _cross(evidence: Evidence) -> tuple[list[Comparison], list[str]]:
    """Accuracy at 40% less the pretrained model's on tasks of other domains; and by domain of the
    model, what of Tables 4 and 5 it was not tested on, or not on all of its tasks."""
    frame, model, domains = evidence.frame, evidence.model, evidence.context.domains
    tasks = {one.name: {*one.tasks} for one in domains if one.name in PAPER_DOMAINS}
    comparisons, missing = [], []
    for domain in domains:
        own = evidence.trimmed(domain, 40)
        recipe = own.tasks[0].recipe if own else ""
        evaluated = frame.by_recipe.get((model, domain.name, recipe), ())
        done: dict[str, set[str]] = {}
        for task, tested in dict.fromkeys((row.task, row.tested) for row in evaluated):
            before = derive.accuracy(frame, model, tested, PRETRAINED, [task])
            after = derive.accuracy(frame, model, domain.name, recipe, [task])
            if task in domain.tasks or before is None or after is None:
                continue
            done.setdefault(tested, set()).add(task)
            near = NEAR.get(domain.name) == tested
            if not near and before.at_chance:
                continue
            fall = Estimate.difference(after.minus(before), after.documents)
            unit = f"points on {'near' if near else 'unrelated'} domains"
            bar, name = -PAPER_MARGIN if near else 0.0, f"{domain.name} on {task}"
            one = compare(name, fall, unit, bar, at_most=not near)
            if not near and lost_at_home(after, frame, domains):
                one = replace(one, name=f"{name} (has lost its own domain)", p_holds=1.0)
            comparisons.append(one)
        others = [x for x in (*tasks, NEAR.get(domain.name)) if x and x != domain.name]
        lacking = [x for x in others if not done.get(x) or not done[x] >= tasks.get(x, set())]
        if lacking and domain.name in tasks:
            missing.append(f"{domain.name} on {', '.join(lacking)}")
    return sorted(comparisons, key=lambda one: one.unit), missing
