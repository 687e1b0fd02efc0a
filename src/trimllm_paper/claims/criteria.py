"""Claims on criteria and ratios, by Final Mem as in Table 6."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from statistics import fmean

from trimllm.base.names import PAPER_CRITERIA
from trimllm_paper.claims.evidence import BOTH, OURS, Evidence, Finding, claim, listed, missing

RATIOS = (1.0, 0.5, 0.25, 0.125)


def _final_mem(
    evidence: Evidence, chains: Sequence[tuple[str, float]]
) -> tuple[list[str], list[float]]:
    """The domains in which all of some chains (criterion, ratio) went, and their Final Mem there.

    In percent of the units, by chain: what the smallest checkpoint above 90% of Full-FT keeps, as
    far as the shortest of the chains goes, mean over the domains; no numbers without a domain.
    """
    names = [evidence.name(*chain) for chain in chains]
    kept: dict[str, list[float]] = {}
    for domain in evidence.context.domains:
        shares = [[share for share, _ in evidence.checkpoints(domain, name)] for name in names]
        if all(shares):
            end = min(map(max, shares))
            found = [evidence.furthest(domain, name, end) for name in names]
            if None not in found:
                kept[domain.name] = [100 - share for share in found]
    return list(kept), [fmean(column) for column in zip(*kept.values(), strict=True)]


def _found(evidence: Evidence, where: Collection[str], sizes: object, **found: object) -> Finding:
    """A finding in some domains: these are named, and it is not the paper's, if not in all."""
    domains = [one.name for one in evidence.context.domains if one.name in where]
    every = len(domains) == len(evidence.context.domains)
    before = "" if every else f"in {', '.join(domains)}: "
    found |= {"before": before, "own": evidence.context.own and every}
    return Finding(numbers={"kept_percent": sizes, "domains": domains}, **found)


@claim(
    "Final Mem(both, r) ≤ Final Mem(calibration, r) and (activation norm, r), r ∈ {1, 1/2, 1/4, "
    "1/8}"
)
def both_best(evidence: Evidence) -> Finding:
    """Final Mem by every criterion at every r."""
    known: dict[str, dict[str, float]] = {}
    ours: dict[str, float] = {}
    where: set[str] = set()
    for ratio in RATIOS:
        names, sizes = _final_mem(evidence, [(criterion, ratio) for criterion in PAPER_CRITERIA])
        if sizes:
            known[f"r={ratio:g}"] = dict(zip(PAPER_CRITERIA, sizes, strict=True))
            where |= set(names)
            beside, likelihood = _final_mem(evidence, [(BOTH, ratio), (OURS, ratio)])
            if beside == names:
                ours[f"r={ratio:g}"] = likelihood[1]
    if not known:
        return missing("the chains by all three criteria")
    words = {r: listed(row.items(), "{} {:.0f}%") for r, row in known.items()}
    worse = any(row[BOTH] > min(row.values()) + 1e-9 for row in known.values())
    nothing = all(size == 100 for row in known.values() for size in row.values())
    complete = len(known) == len(RATIOS)
    after = "; nothing was dropped above 90% of Full-FT, so no criterion stands out"
    return _found(
        evidence,
        where,
        known,
        holds=False if worse or (complete and nothing) else (True if complete else None),
        told=listed(words.items(), "{}: {}", "; "),
        after=after if nothing else "",
        ours=listed(ours.items(), "{} {:.0f}%"),
    )


@claim("Final Mem(both, 1/4) < Final Mem(both, r) for r ∈ {1, 1/2, 1/8}", ours=True)
def r_quarter_best(evidence: Evidence) -> Finding:
    """Final Mem at r = 1/4 against every other r."""
    where, sizes = _final_mem(evidence, [(evidence.criterion, ratio) for ratio in RATIOS])
    if not sizes:
        return missing("a chain at every r", {"kept_percent": {}, "domains": []})
    kept = {f"{ratio:g}": size for ratio, size in zip(RATIOS, sizes, strict=True)}
    holds = kept["0.25"] < min(size for ratio, size in kept.items() if ratio != "0.25")
    told = listed(kept.items(), "r = {}: {:.0f}%")
    return _found(evidence, where, kept, holds=holds, told=told)
