"""Claims on criteria and ratios, by Final Mem as in Table 6."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from trimllm.base.names import PAPER_CRITERIA
from trimllm_paper.claims.evidence import BOTH, OURS, Evidence, Finding, claim, mean, missing

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
    return list(kept), [mean(column) for column in zip(*kept.values(), strict=True)]


def _where(evidence: Evidence, names: Collection[str]) -> tuple[str, bool]:
    """Words for the domains that numbers come from, where not from all; whether all is own.

    A part of the domains is not the paper's claim, on whatever model.
    """
    every = len(names) == len(evidence.context.domains)
    return "" if every else f"in {', '.join(names)}: ", evidence.context.own and every


@claim(
    "Final Mem(both, r) ≤ Final Mem(calibration, r) and (activation norm, r), r ∈ {1, 1/2, 1/4, "
    "1/8}"
)
def both_best(evidence: Evidence) -> Finding:
    """Final Mem by every criterion at every r."""
    known: dict[str, dict[str, float]] = {}
    ours: list[str] = []
    domains: set[str] = set()
    for ratio in RATIOS:
        names, sizes = _final_mem(evidence, [(criterion, ratio) for criterion in PAPER_CRITERIA])
        if not sizes:
            continue
        known[f"r={ratio:g}"] = dict(zip(PAPER_CRITERIA, sizes, strict=True))
        domains |= set(names)
        beside, likelihood = _final_mem(evidence, [(BOTH, ratio), (OURS, ratio)])
        if beside == names:
            ours.append(f"r={ratio:g} {likelihood[1]:.0f}%")
    if not known:
        return missing("the chains by all three criteria")
    names = [domain.name for domain in evidence.context.domains if domain.name in domains]
    where, own = _where(evidence, names)
    text = where + "; ".join(
        f"{r}: " + ", ".join(f"{name} {size:.0f}%" for name, size in row.items())
        for r, row in known.items()
    )
    worse = any(row[BOTH] > min(row.values()) + 1e-9 for row in known.values())
    nothing = all(size == 100 for row in known.values() for size in row.values())
    if nothing:
        text += "; nothing was dropped above 90% of Full-FT, so no criterion stands out"
    complete = len(known) == len(RATIOS)
    holds = False if worse or (complete and nothing) else (True if complete else None)
    numbers = {"kept_percent": known, "domains": names}
    return Finding(holds, text, numbers, own=own, ours=", ".join(ours))


@claim("Final Mem(both, 1/4) < Final Mem(both, r) for r ∈ {1, 1/2, 1/8}")
def r_quarter_best(evidence: Evidence) -> Finding:
    """Final Mem at r = 1/4 against every other r."""

    def by_ratio(criterion: str) -> tuple[list[str], dict[float, float]]:
        names, sizes = _final_mem(evidence, [(criterion, ratio) for ratio in RATIOS])
        return names, dict(zip(RATIOS, sizes, strict=False))

    def told(sizes: dict[float, float]) -> str:
        return ", ".join(f"r = {ratio:g}: {size:.0f}%" for ratio, size in sizes.items())

    names, sizes = by_ratio(BOTH)
    numbers = {"kept_percent": {f"{r:g}": size for r, size in sizes.items()}, "domains": names}
    if not sizes:
        return Finding(None, "not run: a chain at every r", numbers)
    where, own = _where(evidence, names)
    holds = sizes[0.25] < min(size for ratio, size in sizes.items() if ratio != 0.25)
    return Finding(holds, where + told(sizes), numbers, own=own, ours=told(by_ratio(OURS)[1]))
