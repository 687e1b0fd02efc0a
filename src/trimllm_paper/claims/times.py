"""Claims on what training costs."""

from __future__ import annotations

from statistics import fmean

from trimllm_paper import derive
from trimllm_paper.claims.evidence import Evidence, Finding, claim, missing
from trimllm_paper.derive import FULL_EPOCHS, PAPER_UNITS, SPARSE_FACTOR, Cost, progressive

SLACK = 0.05
"""By how much a share of time may exceed the paper's and still agree."""
SPARSE, TRIM = 0.6 + SLACK, 0.4 + SLACK
"""Times over full fine-tuning's, which the paper reads from its Table 9."""


def _costs(evidence: Evidence) -> list[Cost]:
    """Cost of the chain in every domain that has a full and a sparse fine-tuning."""
    found = [derive.cost(evidence.frame, chain) for chain in evidence.chains().values()]
    return [one for one in found if one and one.sparse_factor]


@claim(
    f"time(Sparse-FT) / time(Full-FT) ≤ {SPARSE:g} and time(TrimLLM) / time(Full-FT) ≤ {TRIM:g}, "
    "scans left out"
)
def training_time(evidence: Evidence) -> Finding:
    """Seconds a token of sparse fine-tuning and of the chain, over full fine-tuning's."""
    costs = _costs(evidence)
    if not costs:
        return missing("full and sparse fine-tuning and the chain")
    factors = [one.factor for one in costs]
    sparse, trim = fmean(one.sparse_factor for one in costs), fmean(factors)
    scans = fmean((one.with_scans[-1] - one.training[-1]) / one.training[-1] for one in costs)
    numbers = {"sparse": sparse, "trim": trim, "scans_over_training": scans, "domains": len(costs)}
    told = (
        f"{sparse:.2f} and {trim:.2f} ({min(factors):.2f} to {max(factors):.2f}), mean over "
        f"{len(costs)} domains, seconds a token; the scans take {scans:.1f} times as long as the "
        "chain's training"
    )
    return Finding(sparse <= SPARSE and trim <= TRIM, told, numbers)


@claim("Eq. 6 × f / N = 5 ± 1 epochs, N = 64, n_d = 32, f = measured Sparse-FT / Full-FT")
def two_per_epoch(evidence: Evidence) -> Finding:
    """The paper's own formula, with its factor of a sparse update and with ours."""
    full = progressive(PAPER_UNITS, PAPER_UNITS // 2, 2)
    numbers = {"paper": SPARSE_FACTOR * full, "factor_for_5": FULL_EPOCHS / full}
    theirs = f"with the paper's f = {SPARSE_FACTOR}: {numbers['paper']:.2f}"
    costs = _costs(evidence)
    if not costs:
        return missing(f"full and sparse fine-tuning; {theirs}", numbers)
    factor = fmean(one.sparse_factor for one in costs)
    numbers |= {"factor": factor, "measured": factor * full}
    told = (
        f"f = {factor:.2f}: {factor * full:.2f} epochs; {theirs}; 5 epochs would need "
        f"f = {FULL_EPOCHS / full:.2f}, about the paper's TrimLLM / Full-FT of Table 9"
    )
    return Finding(abs(factor * full - FULL_EPOCHS) <= 1, told, numbers)
