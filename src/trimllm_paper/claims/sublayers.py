"""Claims on which sublayers are dropped, and on what this costs in other domains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations, product
from statistics import fmean

from trimllm_paper import derive
from trimllm_paper.claims.evidence import (
    PAPER_DOMAINS,
    Comparison,
    Evidence,
    Finding,
    compare_difference,
    compare_mean,
    joined,
)
from trimllm_paper.derive import Chain
from trimllm_paper.published import NEAR
from trimllm_paper.recipe import PRETRAINED
from trimllm_paper.verdict import PAPER_MARGIN, lost_at_home

Tested = dict[str, dict[str, set[str]]]
"""Domain of a model -> domains that it was tested on -> their tasks."""


def mlp_more_than_attention(evidence: Evidence) -> Finding:
    """Kinds of the sublayers dropped until half are gone; chains are the unit."""
    chains, missing = evidence.halved()
    kinds = [[kind for _, kind in chain.dropped(chain.blocks)] for chain in chains]
    shares = [100 * one.count("mlp") / len(one) for one in kinds]
    if not shares:
        return Finding(missing=missing)
    comparison = compare_mean("MLPs", shares, "% of the dropped sublayers", "chains", least=50)
    tied, dropped = sum(len(c.tied(c.blocks)) for c in chains), sum(map(len, kinds))
    note = f"The tie-break decided {tied} of {dropped} drops."
    return Finding([comparison], missing, evidence.context.own, pooled=True, note=note)


def specialization(evidence: Evidence) -> Finding:
    """Patterns differ between domains by more than between seeds; accuracy falls on unrelated
    domains and not on near ones.

    A pretrained model at chance has nothing to lose, and the fall of a model that has lost its own
    domain, too, is no sign of specialization. Not to fall is to fall by less than the paper's own
    test sets resolve.
    """
    chains, unchained = evidence.halved()
    patterns, (cross, tested) = _patterns(chains), _cross(evidence)
    missing = [unchained, "" if patterns else "the chains under a second seed"]
    missing += _untested(evidence, tested) if tested else ["tests on other domains"]
    return Finding([*patterns, *cross], joined(missing), evidence.context.own)


def _patterns(chains: Sequence[Chain]) -> list[Comparison]:
    """How much more two seeds of a domain agree than two domains do, by their share of common drops
    (Jaccard); a value a domain. Without a second seed and domain there is nothing to compare."""
    sets: dict[str, list[set[tuple[int, str]]]] = {}
    for chain in chains:
        sets.setdefault(chain.domain, []).append({*chain.dropped(chain.units_total // 2)})
    gains = []
    for domain, own in sets.items():
        others = [one for name, each in sets.items() if name != domain for one in each]
        if others and len(own) > 1:
            seeds = fmean(len(a & b) / len(a | b) for a, b in combinations(own, 2))
            domains = fmean(len(a & b) / len(a | b) for a, b in product(own, others))
            gains.append(100 * (seeds - domains))
    # Just above 0: no difference at all refutes the claim.
    unit = "points more overlap between seeds"
    return [compare_mean("patterns", gains, unit, "domains", least=1e-9)] if gains else []


def _cross(evidence: Evidence) -> tuple[list[Comparison], Tested]:
    """Accuracy at 40% less the pretrained model's on tasks of other domains; and all such tasks."""
    comparisons, done = [], Tested()
    frame, model, domains = evidence.frame, evidence.model, evidence.context.domains
    trimmed = {domain: evidence.trimmed(domain, 40) for domain in domains}
    for domain, own in trimmed.items():
        recipe = own.tasks[0].recipe if own else ""
        evaluated = frame.by_recipe.get((model, domain.name, recipe), ())
        for task, tested in dict.fromkeys((row.task, row.tested) for row in evaluated):
            before = derive.accuracy(frame, model, tested, PRETRAINED, [task])
            after = derive.accuracy(frame, model, domain.name, recipe, [task])
            if task in domain.tasks or before is None or after is None:
                continue
            done.setdefault(domain.name, {}).setdefault(tested, set()).add(task)
            near = NEAR.get(domain.name) == tested
            if not near and before.at_chance:
                continue
            kind, bar = ("near", {"least": -PAPER_MARGIN}) if near else ("unrelated", {"most": 0.0})
            unit, name = f"points on {kind} domains", f"{domain.name} on {task}"
            one = compare_difference(name, after.minus(before), unit, after.documents, **bar)
            if not near and lost_at_home(after, frame, domains):
                one = replace(one, name=f"{name} (has lost its own domain)", p_holds=1.0)
            comparisons.append(one)
    return sorted(comparisons, key=lambda one: one.unit), done


def _untested(evidence: Evidence, done: Tested) -> list[str]:
    """By model, what of Tables 4 and 5 it was not tested on, or not on all of its tasks."""
    known = [name for name in evidence.asked if name in PAPER_DOMAINS]
    tasks = {one.name: {*one.tasks} for one in evidence.context.domains}
    missing = []
    for name in known:
        tested = done.get(name, {})
        others = [x for x in (*known, NEAR.get(name)) if x and x != name]
        lacking = [x for x in others if x not in tested or not tested[x] >= tasks.get(x, set())]
        missing += [f"{name} on {', '.join(lacking)}"] if lacking else []
    return missing
