"""Claims on what trimmed models still know."""

from __future__ import annotations

from trimllm_paper.claims.evidence import BOTH, OURS, Evidence, Finding, claim, missing
from trimllm_paper.derive import Accuracy
from trimllm_paper.recipe import FULL_FT
from trimllm_paper.verdict import KEEPS

LAYERS = {"sciq": 20 / 32, "medmcqa": 16 / 32}
"""Domain -> share of the decoder layers that the paper removes."""


def _kept(evidence: Evidence, criterion: str) -> dict[str, tuple[Accuracy, Accuracy]]:
    """Domain -> accuracy at 50% and of Full-FT."""
    found = {}
    for domain in evidence.context.domains:
        recipe = evidence.near(domain, criterion, 50)
        trimmed = evidence.accuracy(domain, recipe) if recipe else None
        full = evidence.accuracy(domain, FULL_FT)
        if trimmed and full:
            found[domain.name] = trimmed, full
    return found


def _shares(pairs: dict[str, tuple[Accuracy, Accuracy]]) -> str:
    return ", ".join(
        f"{name} {100 * trimmed.percent / full.percent:.0f}% (difference {trimmed.minus(full)})"
        for name, (trimmed, full) in pairs.items()
    )


@claim("accuracy(TrimLLM 50%) > 0.9 × accuracy(Full-FT) in every domain")
def no_loss_50(evidence: Evidence) -> Finding:
    """The paper's own criterion C_a in every domain, at half of the units."""
    pairs = _kept(evidence, BOTH)
    if not pairs:
        return missing("Full-FT or TrimLLM (50%)")
    shares = {name: a.percent / full.percent for name, (a, full) in pairs.items() if full.right}
    return Finding(
        all(share > KEEPS for share in shares.values()),
        _shares(pairs),
        {"share_of_full_ft": shares},
        n=sum(trimmed.n for trimmed, _ in pairs.values()),
        ours=_shares(_kept(evidence, OURS)),
    )


@claim(
    "largest share of units dropped with accuracy > 0.9 × Full-FT: SciQ ≥ 20/32, MedMCQA ≥ 16/32"
)
def layers_dropped(evidence: Evidence) -> Finding:
    """How far the chain goes above 90% of Full-FT; two units are a decoder layer."""
    present = [domain for domain in evidence.context.domains if domain.name in LAYERS]

    def far(name: str) -> dict[str, float]:
        found = {domain.name: evidence.furthest(domain, name) for domain in present}
        return {domain: share for domain, share in found.items() if share is not None}

    def told(shares: dict[str, float]) -> str:
        return ", ".join(f"{domain} {share:.0f}%" for domain, share in shares.items())

    main = evidence.name(BOTH)
    found = far(main)
    if len(found) < len(LAYERS):
        return missing("Full-FT or the chain in SciQ and MedMCQA")
    evaluated = [share for domain in present for share, _ in evidence.checkpoints(domain, main)]
    text = f"{told(found)}, of checkpoints from {min(evaluated):.0f}% on"
    holds = all(found[name] >= 100 * share - 1e-9 for name, share in LAYERS.items())
    numbers = {"dropped_percent": found}
    return Finding(holds, text, numbers, ours=told(far(evidence.name(OURS))))
