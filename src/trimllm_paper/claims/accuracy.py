"""Claims on what trimmed models still know."""

from __future__ import annotations

from trimllm_paper.claims.evidence import Evidence, Finding, claim, listed, missing
from trimllm_paper.recipe import FULL_FT
from trimllm_paper.verdict import KEEPS

LAYERS = {"sciq": 20 / 32, "medmcqa": 16 / 32}
"""Domain -> share of the decoder layers that the paper removes."""


@claim("accuracy(TrimLLM 50%) > 0.9 × accuracy(Full-FT) in every domain", ours=True)
def no_loss_50(evidence: Evidence) -> Finding:
    """The paper's own criterion C_a in every domain, at half of the units."""
    found, shares, n = [], {}, 0
    for domain in evidence.context.domains:
        recipe, full = evidence.near(domain, 50), evidence.accuracy(domain, FULL_FT)
        trimmed = evidence.accuracy(domain, recipe) if recipe else None
        if trimmed and full and full.right:
            shares[domain.name] = trimmed.percent / full.percent
            found.append((domain.name, 100 * shares[domain.name], trimmed.minus(full)))
            n += trimmed.n
    if not found:
        return missing("Full-FT or TrimLLM (50%)")
    holds = all(share > KEEPS for share in shares.values())
    told = listed(found, "{} {:.0f}% (difference {})")
    return Finding(holds, told, {"share_of_full_ft": shares}, n=n)


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
    return Finding(
        all(found[name] >= 100 * share - 1e-9 for name, share in LAYERS.items()),
        listed(found.items(), "{} {:.0f}%"),
        {"dropped_percent": found},
        after=f", of checkpoints from {min(map(min, passes)):.0f}% on",
    )
