"""Claims on what trimmed models still know; on criteria and ratios by Final Mem as in Table 6."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from statistics import fmean

from trimllm.base.names import PAPER_CRITERIA
from trimllm_paper.claims.evidence import BOTH, OURS, Evidence, Finding, claim, listed, missing
from trimllm_paper.recipe import FULL_FT
from trimllm_paper.verdict import KEEPS

LAYERS = {"sciq": 20 / 32, "medmcqa": 16 / 32}
"""Domain -> share of the decoder layers that the paper removes."""
RATIOS = (1.0, 0.5, 0.25, 0.125)


@claim("accuracy(TrimLLM 50%) > 0.9 × accuracy(Full-FT) in every domain", ours=True)
def no_loss_50(evidence: Evidence) -> Finding:
    """The paper's own criterion C_a in every domain, at half of the units."""
    told, shares, n = [], {}, 0
    for domain in evidence.context.domains:
        recipe, full = evidence.near(domain, 50), evidence.accuracy(domain, FULL_FT)
        trimmed = evidence.accuracy(domain, recipe) if recipe else None
        if trimmed and full and full.right:
            share = shares[domain.name] = trimmed.percent / full.percent
            told.append(f"{domain.name} {100 * share:.0f}% (difference {trimmed.minus(full)})")
            n += trimmed.n
    if not told:
        return missing("Full-FT or TrimLLM (50%)")
    holds = all(share > KEEPS for share in shares.values())
    return Finding(holds, ", ".join(told), {"share_of_full_ft": shares}, n=n)


@claim(
    "largest share of units dropped with accuracy > 0.9 × Full-FT: SciQ ≥ 20/32, MedMCQA ≥ 16/32",
    ours=True,
)
def layers_dropped(evidence: Evidence) -> Finding:
    """How far the chain goes above 90% of Full-FT; two units are a decoder layer."""
    domains = [domain for domain in evidence.context.domains if domain.name in LAYERS]
    passes = [evidence.passes(domain, evidence.name()) for domain in domains]
    if len(passes) < len(LAYERS) or not all(passes):
        return missing("Full-FT or the chain in SciQ and MedMCQA")
    found = {domain.name: evidence.furthest(domain, evidence.name()) for domain in domains}
    holds = all(found[name] >= 100 * share - 1e-9 for name, share in LAYERS.items())
    after = f", of checkpoints from {min(map(min, passes)):.0f}% on"
    told = listed(found.items(), "{} {:.0f}%")
    return Finding(holds, told, {"dropped_percent": found}, after=after)


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
        passes = [evidence.passes(domain, name) for name in names]
        if all(passes):
            end = min(map(max, passes))
            kept[domain.name] = [100 - evidence.furthest(domain, name, end) for name in names]
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
            where |= set(names)
            known[f"r={ratio:g}"] = dict(zip(PAPER_CRITERIA, sizes, strict=True))
            beside, likelihood = _final_mem(evidence, [(BOTH, ratio), (OURS, ratio)])
            ours |= {f"r={ratio:g}": likelihood[1]} if beside == names else {}
    if not known:
        return missing("the chains by all three criteria")
    words = {r: listed(row.items(), "{} {:.0f}%") for r, row in known.items()}
    worse = any(row[BOTH] > min(row.values()) + 1e-9 for row in known.values())
    nothing = all(size == 100 for row in known.values() for size in row.values())
    complete = len(known) == len(RATIOS)
    after = "; nothing was dropped above 90% of Full-FT, so no criterion stands out"
    found = {
        "holds": not (worse or nothing) if complete else (False if worse else None),
        "told": listed(words.items(), "{}: {}", "; "),
        "after": after if nothing else "",
        "ours": listed(ours.items(), "{} {:.0f}%"),
    }
    return _found(evidence, where, known, **found)


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
