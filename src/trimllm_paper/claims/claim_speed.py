"""Checks of the claims on speed and memory, by the measurements of throughput (see `claims`)."""

from __future__ import annotations

from trimllm_paper.claims.claims import Finding, missing
from trimllm_paper.claims.evidence import Evidence
from trimllm_paper.timings import Timing

CONSUMER = ("v100", "3090")


def _rate(timing: Timing) -> float:
    return timing.median("decode_tokens_per_second")


def _ratios(evidence: Evidence, kept: float) -> dict[str, dict[str, float]]:
    """HARDWARE/MODEL -> compressor -> speed of TrimLLM at a kept fraction over the compressor's."""
    found: dict[str, dict[str, float]] = {}
    for (hardware, model), timings in evidence.speeds().items():
        trimmed = evidence.timings.trimmed(hardware, model, kept)
        others = [one for one in timings if one.compressor and one.recipe in ("full", "full_ft")]
        if trimmed and others:
            own = next(iter(trimmed.values()))
            ratios = {one.compressor: _rate(own) / _rate(one) for one in others}
            found[f"{hardware}/{model}"] = ratios
    return found


def speedup_consumer(evidence: Evidence) -> Finding:
    """TrimLLM at 50% over every compressor, on consumer hardware; the paper: 2.1 to 5.7."""
    formula = "min over compressors c of tokens/s(TrimLLM 50%) / tokens/s(c) ≥ 2.1"
    ratios = _ratios(evidence, 50)
    if not ratios:
        return missing(formula, "throughput of TrimLLM and of a compressor on one machine")
    named = {place: r for place, r in ratios.items() if any(c in place.lower() for c in CONSUMER)}
    shown = named or ratios
    own = bool(named) and all("llama-7b" in place for place in named)
    low = min(min(r.values()) for r in shown.values())
    text = "; ".join(
        f"{place}: " + ", ".join(f"{ratio:.2f} over {name}" for name, ratio in r.items())
        for place, r in shown.items()
    )
    return Finding(formula, low >= 2.1, text, {"ratios": shown}, own=own)


def speedup_a100(evidence: Evidence) -> Finding:
    """The fastest TrimLLM, compressed or not, over the full model; the paper: 3.1 on A100."""
    formula = "max over TrimLLM [+ compressor] of speedup over the full model ≥ 3.1"
    found: dict[str, float] = {}
    for (hardware, model), timings in evidence.speeds().items():
        trims = [one.speedup for one in timings if one.recipe.startswith("trim_")]
        if trims:
            found[f"{hardware}/{model}"] = max(trims)
    if not found:
        return missing(formula, "throughput of TrimLLM")
    named = {place: value for place, value in found.items() if "a100" in place.lower()}
    shown = named or found
    text = "; ".join(f"{place}: {value:.2f}" for place, value in shown.items())
    own = bool(named) and all("llama-7b" in place for place in named)
    return Finding(formula, max(shown.values()) >= 3.1, text, {"speedup": shown}, own=own)


def compression_8x(evidence: Evidence) -> Finding:
    """AWQ on the trimmed model: bytes and speed against the full one."""
    formula = "bytes(full) / bytes(TrimLLM 50% + AWQ) ≥ 8 and speedup ≥ 4.5"
    found = {}
    for hardware, model in evidence.speeds():
        for one in evidence.timings.trimmed(hardware, model, 50, "awq_int4").values():
            found[f"{hardware}/{model}"] = {
                "smaller": 100 / one.bytes_percent,
                "faster": one.speedup,
            }
    if not found:
        return missing(formula, "throughput of TrimLLM with AWQ")
    holds = any(one["smaller"] >= 8 and one["faster"] >= 4.5 for one in found.values())
    text = "; ".join(
        f"{place}: {one['smaller']:.1f}x smaller, {one['faster']:.2f}x as fast"
        for place, one in found.items()
    )
    own = all("a100" in place.lower() and "llama-7b" in place for place in found)
    return Finding(formula, holds, text, {"found": found}, own=own)
