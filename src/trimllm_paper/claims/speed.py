"""Claims on speed and memory, by the measurements of throughput."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pandas import DataFrame

from trimllm_paper import derive
from trimllm_paper.claims.evidence import Evidence, Finding, claim, listed, missing
from trimllm_paper.frame import rows, where
from trimllm_paper.recipe import FULL, FULL_FT

CONSUMER = ("v100", "rtx3090")
A100 = ("a100",)


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
