"""Claims on what trimmed models still answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from trimllm.base.names import PAPER_CRITERIA, PAPER_CRITERION
from trimllm_paper.claims.evidence import (
    PAPER_DOMAINS,
    Comparison,
    Evidence,
    Finding,
    joined,
    keeps_90,
)
from trimllm_paper.recipe import FULL_FT

COMPRESSED = (50, 40)
"""Percent of the sublayers kept at a compression of 50 to 60%."""
LAYERS = {"sciq": 100 * 20 / 32, "medmcqa": 100 * 16 / 32}
"""Domain -> percent of the decoder layers that the paper removes."""
RATIOS = (1.0, 0.5, 0.25, 0.125)
Key = tuple[str, float]
"""Criterion and ratio of a chain."""
Checkpoints = Mapping[float, Comparison]
"""Percent of the sublayers dropped -> accuracy against 90% of Full-FT's."""


def no_loss_50(evidence: Evidence) -> Finding:
    """The paper's own criterion C_a in every domain, at both ends of 50 to 60% compression."""
    domains = evidence.context.domains
    comparisons, missing = [], [evidence.lacking([one.name for one in domains], "the models")]
    for domain in domains:
        full = evidence.accuracy(domain, FULL_FT)
        for kept in COMPRESSED:
            trimmed, name = evidence.trimmed(domain, kept), f"{domain.name} at {kept}%"
            if full and full.percent and trimmed:
                comparisons.append(keeps_90(name, trimmed, full))
            else:
                missing.append(name)
    return Finding(comparisons, joined(missing), evidence.context.own)


def layers_dropped(evidence: Evidence) -> Finding:
    """How far the chain goes above 90% of Full-FT; two sublayers are a decoder layer.

    It goes so far if a checkpoint there or beyond is above the bar, and does not if all of them and
    the last one before are below.
    """
    comparisons, missing = [], []
    domains = {one.name: one for one in evidence.context.domains}
    for name, share in LAYERS.items():
        every = evidence.keeps(domains[name], evidence.chain()) if name in domains else {}
        beyond = [one for dropped, one in every.items() if dropped >= share - 1e-9]
        before = [one for dropped, one in sorted(every.items()) if dropped <= share + 1e-9][-1:]
        p_holds = min((one.p_holds for one in beyond), default=1.0)
        p_fails = max((one.p_fails for one in (*before, *beyond)), default=1.0)
        if before:
            unit, basis = "% dropped above 90% of Full-FT", before[0].basis
            label = f"{name}, {share:g}% or more"
            comparisons.append(Comparison(label, _furthest(every), unit, p_holds, p_fails, basis))
        if not beyond:
            missing.append(f"{name} with {share:g}% dropped")
    return Finding(comparisons, joined(missing), evidence.context.own)


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
    evidence: Evidence, pairs: Iterable[tuple[Key, Key]], *, strictly: bool
) -> Finding:
    """Whether the first chain of each pair drops as much above 90% of Full-FT as the other, or
    strictly more, in every domain where both were run, as far as the shorter one goes."""
    comparisons, missing, domains = [], dict[str, None](), set[str]()
    for pair in pairs:
        names = [f"{criterion} r={ratio:g}" for criterion, ratio in pair]
        missing |= dict.fromkeys(names)
        for domain in evidence.context.domains:
            one, other = (evidence.keeps(domain, evidence.chain(*key)) for key in pair)
            if not one or not other:
                continue
            end = min(max(one), max(other)) + 1e-9
            one, other = ({d: x for d, x in each.items() if d <= end} for each in (one, other))
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
    return Finding(comparisons, ", ".join(missing), own)


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
