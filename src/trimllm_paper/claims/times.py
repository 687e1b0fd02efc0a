"""Claims on what training costs."""

from __future__ import annotations

from trimllm_paper.claims.evidence import BOTH, Evidence, Finding, claim, mean, missing
from trimllm_paper.derive import FULL_EPOCHS, PAPER_UNITS, SPARSE_FACTOR, Cost, cost, progressive

SLACK = 0.05
"""By how much a share of time may exceed the paper's and still agree."""
SPARSE, TRIM = 0.6 + SLACK, 0.4 + SLACK
"""Times over full fine-tuning's, which the paper reads from its Table 9."""


def _costs(evidence: Evidence) -> list[tuple[str, Cost]]:
    """(recipe, cost) of the chains of all domains that have a full and a sparse fine-tuning."""
    shown = {one.name for one in evidence.context.recipes}
    chains = [chain for chain in evidence.chains if chain.name in shown]
    found = [(chain.name, cost(evidence.frame, chain)) for chain in chains]
    return [(name, one) for name, one in found if one and one.sparse_factor]


@claim(
    f"time(Sparse-FT) / time(Full-FT) ≤ {SPARSE:g} and time(TrimLLM) / time(Full-FT) ≤ {TRIM:g}, "
    "scans left out"
)
def training_time(evidence: Evidence) -> Finding:
    """Seconds a token of sparse fine-tuning and of the chain, over full fine-tuning's."""
    costs = [one for name, one in _costs(evidence) if name == evidence.name(BOTH)]
    if not costs:
        return missing("full and sparse fine-tuning and the chain")
    factors = [one.factor for one in costs]
    sparse, trim = mean([one.sparse_factor for one in costs]), mean(factors)
    scans = mean([(one.with_scans[-1] - one.training[-1]) / one.training[-1] for one in costs])
    numbers = {"sparse": sparse, "trim": trim, "scans_over_training": scans, "domains": len(costs)}
    text = (
        f"{sparse:.2f} and {trim:.2f} ({min(factors):.2f} to {max(factors):.2f}), mean over "
        f"{len(costs)} domains, seconds a token; the scans take {scans:.1f} times as long as the "
        "chain's training"
    )
    return Finding(sparse <= SPARSE and trim <= TRIM, text, numbers)


@claim("Eq. 6 × f / N = 5 ± 1 epochs, N = 64, n_d = 32, f = measured Sparse-FT / Full-FT")
def two_per_epoch(evidence: Evidence) -> Finding:
    """The paper's own formula, with its factor of a sparse update and with ours."""
    full = progressive(PAPER_UNITS, PAPER_UNITS // 2, 2)
    theirs = SPARSE_FACTOR * full
    factors = [one.sparse_factor for _, one in _costs(evidence)]
    numbers = {"paper": theirs, "factor_for_5": FULL_EPOCHS / full}
    text = f"with the paper's f = {SPARSE_FACTOR}: {theirs:.2f}"
    if not factors:
        return Finding(None, f"not run: full and sparse fine-tuning; {text}", numbers)
    factor = mean(factors)
    numbers |= {"factor": factor, "measured": factor * full}
    text = (
        f"f = {factor:.2f}: {factor * full:.2f} epochs; {text}; 5 epochs would need "
        f"f = {FULL_EPOCHS / full:.2f}, about the paper's TrimLLM / Full-FT of Table 9"
    )
    return Finding(abs(factor * full - FULL_EPOCHS) <= 1, text, numbers)
