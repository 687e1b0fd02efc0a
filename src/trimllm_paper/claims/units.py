"""Claims on which units go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

from trimllm_paper import derive
from trimllm_paper.claims.evidence import (
    PAPER_DOMAINS,
    Evidence,
    Finding,
    claim,
    conclude,
    missing,
    pooled,
)
from trimllm_paper.derive import KINDS
from trimllm_paper.intervals import Difference, sign_test, wilson
from trimllm_paper.published import NEAR
from trimllm_paper.recipe import PRETRAINED
from trimllm_paper.verdict import PAPER_MARGIN, above, lost_at_home

SIGNIFICANT = 0.05
OVERLAP = 0.8
"""Share of common dropped units (Jaccard) above which two patterns are the same to us."""


@claim(
    f"dropped MLP > dropped attention, sign test p < {SIGNIFICANT} (first half of drops)",
    ours=True,
)
def mlp_more_than_attention(evidence: Evidence) -> Finding:
    """Kinds of the units dropped until half are gone, all domains together.

    A split that is not significant, either way, leaves the claim undecided.
    """
    chains, lacking = evidence.halved()
    counts = [chain.counts(chain.units_total // 2) for chain in chains.values()]
    every = {kind: sum(one.total(kind) for one in counts) for kind in KINDS}
    clear = {kind: sum(one.clear[kind] for one in counts) for kind in KINDS}
    mlp, attention = every["mlp"], every["attention"]
    if not mlp + attention:
        return missing(lacking or "a drop of a chain by the paper's criterion")
    p = sign_test(mlp, attention)
    share, (low, high) = 100 * mlp / (mlp + attention), wilson(mlp, mlp + attention)
    told = f"{mlp} MLP and {attention} attention, {share:.0f}% ({low:.0f} to {high:.0f}) MLP, "
    told += f"p = {p:.2g}; without ties {clear['mlp']} and {clear['attention']}"
    holds, what = pooled(mlp > attention if p < SIGNIFICANT else None, lacking)
    over = Difference(share - 50, low - 50, high - 50, paired=False)
    return Finding(
        holds,
        told,
        {"all": every, "without_ties": clear},
        missing=what,
        differences={"share of MLPs over half": over},
        n=mlp + attention,
        counted="units",
        seeds=1,
        before=evidence.within(chains),
    )


@claim(
    f"(1) common share of dropped units < {OVERLAP:g} for every two domains; (2) unrelated "
    "domains: accuracy falls against pretrained wherever that is above chance; (3) near domains: "
    "it does not fall"
)
def specialization(evidence: Evidence) -> Finding:
    """Patterns differ, other domains lose, near domains hold (the last two by cross-evaluation).

    A pretrained model at chance has nothing to lose there, and a fall of a model that has lost its
    own domain, too, is no sign of specialization. Each pair is decided by the interval of
    its difference; one near pair falls or one unrelated pair rises: the claim is refuted. It holds
    only where every chain went to half of the units, and every model was tested on every domain.
    """
    chains, unchained = evidence.halved()
    sets = {name: set(chain.dropped(chain.units_total // 2)) for name, chain in chains.items()}
    pairs = {
        f"{a}/{b}": len(sets[a] & sets[b]) / len(sets[a] | sets[b])
        for a, b in combinations(sets, 2)
        if sets[a] | sets[b]
    }
    cross = _cross(evidence)
    far = [one for one in cross if not one["near"] and one["above_chance"]]
    near = [one for one in cross if one["near"]]
    parts: dict[str, list[bool | None]] = {
        "patterns": [overlap < OVERLAP for overlap in pairs.values()],
        "unrelated": [_falls(one) for one in far],
        # Not to fall: by less than the paper's own test sets resolve is no fall.
        "near": [_holds(one) for one in near],
    }
    low, high = (pick(pairs.values(), default=0.0) for pick in (min, max))
    told = f"(1) overlap {low:.2f} to {high:.2f} (by lot 0.33); " if pairs else "(1) not run; "
    fall, rise = (parts["unrelated"].count(answer) for answer in (True, False))
    told += f"(2) {fall} of {len(far)} fall, {rise} rise" if far else "(2) not run"
    lost = sum(one["lost_at_home"] for one in far)
    told += f", {lost} are of models that have lost their own domain, too; " if lost else "; "
    hold = parts["near"].count(True)
    told += f"(3) {hold} of {len(near)} hold" if near else "(3) not run"
    lacking = [*(f"({n}) {name}" for n, (name, v) in enumerate(parts.items(), 1) if not v)]
    lacking += [unchained] if unchained else []
    lacking += _untested(evidence, cross) if cross else []
    holds, what = conclude((a for part in parts.values() for a in part), "; ".join(lacking))
    answers = {name: conclude(part)[0] for name, part in parts.items()}
    numbers = {"overlap": pairs, "cross": cross, "parts": answers}
    found = {
        f"{one['domain']} on {one['task']}": Difference(
            **dict(zip(("points", "low", "high"), _shown(one), strict=True)),
            paired=one["paired"],
            seeds=one["seeds"],
        )
        for one in (*far, *near)
    }
    n = sum({one["task"]: one["n"] for one in (*far, *near)}.values()) or None
    seeds = min((one["seeds"] for one in (*far, *near)), default=None)
    finding = Finding(holds, told, numbers, missing=what, differences=found, n=n, seeds=seeds)
    return replace(finding, before=evidence.within(chains))


def _untested(evidence: Evidence, cross: Sequence[dict[str, Any]]) -> list[str]:
    """By model, what of Tables 4 and 5 it was not tested on, or not on all of its tasks."""
    known = [name for name in evidence.asked if name in PAPER_DOMAINS]
    near = [NEAR[name] for name in known if name in NEAR]
    tasks = {one.name: {*one.tasks} for one in evidence.context.domains}
    found = []
    for name in known:
        done: dict[str, set[str]] = {}
        for one in cross:
            if one["domain"] == name:
                done.setdefault(one["tested"], set()).add(one["task"])
        wanted = [other for other in (*known, *(near if name in NEAR else ())) if other != name]
        lacking = [
            one for one in wanted if one not in done or not done[one] >= tasks.get(one, set())
        ]
        found += [f"{name} on {', '.join(lacking)}"] if lacking else []
    return found


def _falls(one: dict[str, Any]) -> bool | None:
    """Whether an accuracy falls; None where that is open, or the model knows its own no better."""
    found = above(-one["high"], -one["low"])
    return None if found and one["lost_at_home"] else found


def _holds(one: dict[str, Any]) -> bool | None:
    """Whether an accuracy does not fall; None where that is open."""
    return False if one["high"] < 0 else (True if one["low"] > -PAPER_MARGIN else None)


def _shown(one: dict[str, Any]) -> tuple[float, float, float]:
    """A difference with its low and high end, the other way round for one that should be a fall."""
    if one["near"]:
        return one["points"], one["low"], one["high"]
    return -one["points"], -one["high"], -one["low"]


def _cross(evidence: Evidence) -> list[dict[str, Any]]:
    """Differences to the pretrained model on tasks that are not the domain's own, at 40%."""
    found = []
    frame, model = evidence.frame, evidence.model
    for domain in evidence.context.domains:
        if (recipe := evidence.near(domain, 40)) is None:
            continue
        evaluated = frame.by_recipe.get((model, domain.name, recipe), ())
        for task, tested in dict.fromkeys((row.task, row.tested) for row in evaluated):
            # The pretrained model is evaluated once a task, in the task's own domain.
            before = derive.accuracy(frame, model, tested, PRETRAINED, [task])
            if task in domain.tasks or before is None:
                continue
            after = derive.accuracy(frame, model, domain.name, recipe, [task])
            assert after is not None  # it is one of those that were evaluated
            change = after.minus(before)
            fields = ("points", "low", "high", "paired", "seeds")
            found.append(
                {"domain": domain.name, "task": task, "tested": tested}
                | {"near": NEAR.get(domain.name) == tested}
                | {key: getattr(change, key) for key in fields}
                | {"above_chance": not before.at_chance, "n": after.documents}
                | {"lost_at_home": lost_at_home(after, frame, evidence.context.domains)}
            )
    return found
