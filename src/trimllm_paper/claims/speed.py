"""Claims on speed and memory, by the measurements of throughput; and on what training costs."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from pandas import DataFrame

from trimllm_paper import derive
from trimllm_paper.claims.evidence import Evidence, Finding, claim, listed, missing
from trimllm_paper.derive import FULL_EPOCHS, PAPER_UNITS, SPARSE_FACTOR, Cost, progressive
from trimllm_paper.frame import rows, where
from trimllm_paper.recipe import FULL, FULL_FT

CONSUMER = ("v100", "rtx3090")
A100 = ("a100",)
SLACK = 0.05
"""By how much a share of time may exceed the paper's and still agree."""
SPARSE, TRIM = 0.6 + SLACK, 0.4 + SLACK
"""Times over full fine-tuning's, which the paper reads from its Table 9."""


def _places(evidence: Evidence) -> dict[str, DataFrame]:
    """HARDWARE/MODEL -> measurements, of this model and of shapes with random weights."""
    return {
        f"{hardware}/{model}": timings
        for (hardware, model), timings in evidence.frame.timings.groupby(["hardware", "model"])
        if model == evidence.model or timings.content.iloc[0]["random_weights"]
    }


def _at_50(timings: DataFrame, evidence: Evidence, compressor: str | None = None) -> Any:
    """TrimLLM at about half of the units: by the main recipe, else by the first pattern."""
    found = rows(derive.near(where(timings, base="trim", compressor=compressor), 50).sort_index())
    return min(found, key=lambda row: row.name != evidence.context.main.name, default=None)


def _named(found: dict[str, Any], machines: Sequence[str]) -> tuple[dict[str, Any], bool]:
    """Of places those on such machines, else all; whether these are the paper's model's."""
    named = {place: one for place, one in found.items() if place.partition("/")[0] in machines}
    return named or found, bool(named) and all("llama-7b" in place for place in named)


@claim("min over compressors c of tokens/s(TrimLLM 50%) / tokens/s(c) ≥ 2.1")
def speedup_consumer(evidence: Evidence) -> Finding:
    """TrimLLM at 50% over every compressor, on consumer hardware; the paper: 2.1 to 5.7."""
    ratios = {}
    for place, timings in _places(evidence).items():
        full = rows(timings[timings.base.isin([FULL, FULL_FT]) & timings.compressor.notna()])
        if full and (trimmed := _at_50(timings, evidence)):
            ratios[place] = {row.compressor: trimmed.decode / row.decode for row in full}
    if not ratios:
        return missing("throughput of TrimLLM and of a compressor on one machine")
    shown, own = _named(ratios, CONSUMER)
    words = {p: listed(r.items(), "{1:.2f} over {0}") for p, r in shown.items()}
    holds = min(min(r.values()) for r in shown.values()) >= 2.1
    return Finding(holds, listed(words.items(), "{}: {}", "; "), {"ratios": shown}, own=own)


@claim("max over TrimLLM [+ compressor] of speedup over the full model ≥ 3.1")
def speedup_a100(evidence: Evidence) -> Finding:
    """The fastest TrimLLM, compressed or not, over the full model; the paper: 3.1 on A100."""
    trimmed = {place: where(t, base="trim").speedup for place, t in _places(evidence).items()}
    found = {place: float(speedups.max()) for place, speedups in trimmed.items() if len(speedups)}
    if not found:
        return missing("throughput of TrimLLM")
    shown, own = _named(found, A100)
    told = listed(shown.items(), "{}: {:.2f}", "; ")
    return Finding(max(shown.values()) >= 3.1, told, {"speedup": shown}, own=own)


@claim("bytes(full) / bytes(TrimLLM 50% + AWQ) ≥ 8 and speedup ≥ 4.5")
def compression_8x(evidence: Evidence) -> Finding:
    """AWQ on the trimmed model: bytes and speed against the full one."""
    found = {
        place: {"smaller": 100 / one.bytes_percent, "faster": one.speedup}
        for place, timings in _places(evidence).items()
        if (one := _at_50(timings, evidence, "awq_int4"))
    }
    if not found:
        return missing("throughput of TrimLLM with AWQ")
    holds = any(one["smaller"] >= 8 and one["faster"] >= 4.5 for one in found.values())
    form = "{0}: {1[smaller]:.1f}x smaller, {1[faster]:.2f}x as fast"
    named, own = _named(found, A100)
    own = own and named.keys() == found.keys()
    return Finding(holds, listed(found.items(), form, "; "), {"found": found}, own=own)


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
