"""Claims on what trimmed models still know; on criteria and ratios by Final Mem as in Table 6."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from trimllm.base.names import PAPER_CRITERIA
from trimllm_paper.claims.evidence import (
    BOTH,
    OURS,
    Evidence,
    Finding,
    Furthest,
    claim,
    conclude,
    listed,
    missing,
)
from trimllm_paper.details import share
from trimllm_paper.intervals import Difference
from trimllm_paper.recipe import FULL_FT
from trimllm_paper.verdict import KEEPS, above

LAYERS = {"sciq": 20 / 32, "medmcqa": 16 / 32}
"""Domain -> share of the decoder layers that the paper removes."""
RATIOS = (1.0, 0.5, 0.25, 0.125)
COMPRESSED = (50, 40)
"""Percent of the units that are kept at a compression of 50 to 60%."""


@claim(
    "accuracy(TrimLLM at 50% and at 40% of the units) > 0.9 × accuracy(Full-FT) in every domain",
    ours=True,
)
def no_loss_50(evidence: Evidence) -> Finding:
    """The paper's own criterion C_a in every domain, at both ends of 50 to 60% compression."""
    told, shares, found = [], {}, {}
    names = [domain.name for domain in evidence.context.domains]
    lacking = [what for what in [evidence.lacking(names, "the models")] if what]
    documents, seeds, where = 0, set(), set()
    for domain in evidence.context.domains:
        full = evidence.accuracy(domain, FULL_FT)
        for kept in COMPRESSED:
            recipe, name = evidence.near(domain, kept), f"{domain.name} at {kept}%"
            trimmed = evidence.accuracy(domain, recipe) if recipe else None
            if not (trimmed and full and full.percent):
                lacking.append(name)
                continue
            over = found[name] = trimmed.minus(full, KEEPS)
            of_all, above_chance = share(trimmed, full) or 0.0, share(trimmed, full, full.chance)
            shares[name] = of_all / 100
            known = (
                "" if above_chance is None else f" ({round(above_chance)}% of that above chance)"
            )
            told.append(f"{name} {of_all:.0f}%{known}, over the bar {over}")
            documents += trimmed.documents if kept == COMPRESSED[0] else 0
            seeds.add(over.seeds)
            where.add(domain.name)
    if not found:
        return missing("Full-FT or TrimLLM (50%, 40%)")
    holds, what = conclude((above(one.low, one.high) for one in found.values()), "; ".join(lacking))
    return Finding(
        holds,
        "; ".join(told),
        {"share_of_full_ft": shares},
        missing=what,
        differences=found,
        n=documents,
        seeds=min(seeds),
        before=evidence.within(where),
    )


@claim(
    "largest share of units dropped with accuracy > 0.9 × Full-FT: SciQ ≥ 20/32, MedMCQA ≥ 16/32",
    ours=True,
)
def layers_dropped(evidence: Evidence) -> Finding:
    """How far the chain goes above 90% of Full-FT; two units are a decoder layer.

    Where the first evaluated checkpoint already fails, what is known is "less than its share".
    """
    domains = {one.name: one for one in evidence.context.domains if one.name in LAYERS}
    passes = {name: evidence.passes(one, evidence.name()) for name, one in domains.items()}
    found = {name: Furthest.of(one) for name, one in passes.items() if one}
    if not found:
        return missing("Full-FT or the chain in SciQ and MedMCQA")
    answers = {name: one.at_least(100 * LAYERS[name]) for name, one in found.items()}
    lacking = [name for name in LAYERS if name not in found]
    for name, one in found.items():
        if answers[name] is None and one.last < 100 * LAYERS[name] - 1e-9:
            lacking.append(f"{name} with more than {one.last:.0f}% dropped")
    holds, what = conclude(answers.values(), ", ".join(lacking))
    every = (evidence.accuracy(domains[name], FULL_FT) for name in found)
    each = [one for one in every if one]
    told = []
    for name in found:
        if between := evidence.furthest_held_back(domains[name]):
            ends, n = between
            reached = " to ".join(dict.fromkeys(f"{end:.0f}" for end in (min(ends), max(ends))))
            told.append((name, reached, n, f"{len(ends)} seed{'s' if len(ends) > 1 else ''}"))
    after = "; by documents held back, until the first state that fails, before settling: "
    return Finding(
        holds,
        listed(found.items(), "{} {}"),
        {"dropped_percent": {name: one.likely or 0.0 for name, one in found.items()}},
        after=after + listed(told, "{} {}% (n = {}, {})") if told else "",
        missing=what,
        differences={
            f"{name} at {share:.0f}% dropped": one
            for name in found
            for share, one in passes[name].items()
            if share >= 100 * LAYERS[name] - 1e-9
        },
        n=sum(one.documents for one in each),
        seeds=min(over.seeds for name in found for over in passes[name].values()),
    )


Sizes = dict[str, tuple[float, float, float]]
"""Chain -> Final Mem in percent of the units: likely, smallest possible, largest possible."""


def _final_mem(
    evidence: Evidence, chains: Sequence[tuple[str, float]]
) -> tuple[list[str], list[tuple[float, float, float]], int]:
    """The domains in which all of some chains (criterion, ratio) went, their Final Mem there, and
    the fewest seeds that one of them has.

    In percent of the units, by chain: what the smallest checkpoint above 90% of Full-FT keeps, as
    far as the shortest of the chains goes, in the domain where that is most (so the ≥50% of the
    paper's r = 1/4 follow from its Table 2, where MedMCQA at 40% keeps 87%); likely, and between
    which bounds by the intervals. No numbers without a domain.
    """
    names = [evidence.name(*chain) for chain in chains]
    kept: dict[str, list[tuple[float, float, float]]] = {}
    seeds: set[int] = set()
    for domain in evidence.context.domains:
        passes = [evidence.passes(domain, name) for name in names]
        if all(passes):
            end = min(map(max, passes))
            furthest = [Furthest.of(one, end) for one in passes]
            seeds |= {over.seeds for one in passes for over in one.values()}
            kept[domain.name] = [
                (100 - (one.likely or 0.0), 100 - (one.possibly or 0.0), 100 - (one.surely or 0.0))
                for one in furthest
            ]
    columns = zip(*kept.values(), strict=True)
    bounds = (map(max, zip(*column, strict=True)) for column in columns)
    return list(kept), [(likely, low, high) for likely, low, high in bounds], min(seeds, default=1)


def _found(evidence: Evidence, where: Collection[str], sizes: object, **found: Any) -> Finding:
    """A finding in some domains: these are named, and it is not the paper's, if not in all."""
    domains = [one.name for one in evidence.context.domains if one.name in where]
    before = evidence.within(domains)
    asked = [one for one in evidence.context.domains if one.name in where]
    each = [full for one in asked if (full := evidence.accuracy(one, FULL_FT))]
    found |= {"n": sum(one.documents for one in each), "counted": "documents of each checkpoint"}
    found |= {"before": before, "own": evidence.context.own and not before}
    return Finding(numbers={"kept_percent": sizes, "domains": domains}, **found)


def _smaller(one: tuple[float, float, float], other: tuple[float, float, float]) -> Difference:
    """Final Mem of the other less that of the one, with the bounds that intervals leave."""
    likely, low, high = one
    return Difference(other[0] - likely, other[1] - high, other[2] - low, paired=True)


def _not_larger(one: Difference, *, strict: bool) -> bool | None:
    """Whether a Final Mem is not larger (strict: smaller) than another, by their bounds."""
    if strict:
        return True if one.low > 1e-9 else (False if one.high <= 1e-9 else None)
    return True if one.low >= -1e-9 else (False if one.high < -1e-9 else None)


def _size(size: tuple[float, float, float]) -> str:
    likely, low, high = size
    return f"{likely:.0f}%" + (f" ({low:.0f} to {high:.0f})" if high - low > 0.5 else "")


@claim(
    "Final Mem(both, r) ≤ Final Mem(calibration, r) and (activation norm, r), r ∈ {1, 1/2, 1/4, "
    "1/8}"
)
def both_best(evidence: Evidence) -> Finding:
    """Final Mem by every criterion at every r."""
    known: dict[str, Sizes] = {}
    ours: dict[str, str] = {}
    where: set[str] = set()
    seeds: list[int] = []
    for ratio in RATIOS:
        chains = [(criterion, ratio) for criterion in PAPER_CRITERIA]
        names, sizes, fewest = _final_mem(evidence, chains)
        if sizes:
            where |= set(names)
            seeds.append(fewest)
            known[f"r={ratio:g}"] = dict(zip(PAPER_CRITERIA, sizes, strict=True))
            beside, likelihood, _ = _final_mem(evidence, [(BOTH, ratio), (OURS, ratio)])
            ours |= {f"r={ratio:g}": _size(likelihood[1])} if beside == names else {}
    if not known:
        return missing("the chains by all three criteria")
    found = {
        f"both under {criterion}, {r}": _smaller(row[BOTH], row[criterion])
        for r, row in known.items()
        for criterion in PAPER_CRITERIA
        if criterion != BOTH
    }
    nothing = all(size[0] == 100 for row in known.values() for size in row.values())
    lacking = ", ".join(f"r={r:g}" for r in RATIOS if f"r={r:g}" not in known)
    holds, what = conclude((_not_larger(one, strict=False) for one in found.values()), lacking)
    words = {
        r: listed(((key, _size(size)) for key, size in row.items()), "{} {}")
        for r, row in known.items()
    }
    told = {
        # Where nothing can be dropped all are equal, which makes none the best.
        "holds": None if nothing and holds else holds,
        "missing": what,
        "told": listed(words.items(), "{}: {}", "; "),
        "after": "; nothing was dropped above 90% of Full-FT, so no criterion stands out"
        if nothing
        else "",
        "differences": found,
        "ours": listed(ours.items(), "{} {}"),
        "seeds": min(seeds),
    }
    likely = {r: {key: size[0] for key, size in row.items()} for r, row in known.items()}
    return _found(evidence, where, likely, **told)


@claim("Final Mem(both, 1/4) < Final Mem(both, r) for r ∈ {1, 1/2, 1/8}", ours=True)
def r_quarter_best(evidence: Evidence) -> Finding:
    """Final Mem at r = 1/4 against every other r."""
    chains = [(evidence.criterion, ratio) for ratio in RATIOS]
    where, sizes, seeds = _final_mem(evidence, chains)
    if not sizes:
        return missing("a chain at every r", {"kept_percent": {}, "domains": []})
    kept = {f"{ratio:g}": size for ratio, size in zip(RATIOS, sizes, strict=True)}
    found = {
        f"r = 1/4 under r = {ratio}": _smaller(kept["0.25"], size)
        for ratio, size in kept.items()
        if ratio != "0.25"
    }
    holds, _ = conclude(_not_larger(one, strict=True) for one in found.values())
    told = listed(((ratio, _size(size)) for ratio, size in kept.items()), "r = {}: {}")
    likely = {ratio: size[0] for ratio, size in kept.items()}
    told_of = {"holds": holds, "told": told, "differences": found, "seeds": seeds}
    return _found(evidence, where, likely, **told_of)
