"""Claims on speed and memory, by the measurements of throughput; and on what training costs.

A printed number is meant to its last digit: 26.8 / 13.0 = 2.06 is the 2.1 of the paper, so the bar
of "2.1 times" is 2.05. Spreads are the quartiles of the rounds, which is what is recorded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

from pandas import DataFrame

from trimllm.base.intervals import Difference, mean_interval
from trimllm_paper import derive
from trimllm_paper.claims.evidence import Evidence, Finding, claim, conclude, listed, missing
from trimllm_paper.context import STAND_IN_FOR
from trimllm_paper.derive import FULL_EPOCHS, PAPER_UNITS, SPARSE_FACTOR, Cost, progressive
from trimllm_paper.frame import rows, where
from trimllm_paper.recipe import FULL, FULL_FT
from trimllm_paper.shapes import RANDOM
from trimllm_paper.verdict import above

CONSUMER = ("v100", "rtx3090")
A100 = ("a100",)
BASELINES = ("sparsegpt_2_4", "llm_int8", "gptq_int4", "awq_int4")
"""Compressors that Table 1 compares with."""
KEPT = 40
"""Percent of the units that TrimLLM keeps in Table 1."""
LEAST, MOST = 2.1 - 0.05, 5.7 - 0.05
FASTEST = 3.1 - 0.05
SMALLER, FASTER = 8 - 0.5, 4.5 - 0.05
SPARSE, TRIM = 0.6 + 0.05, 0.4 + 0.05
"""Times over full fine-tuning's, which the paper reads from its Table 9 to one digit."""
HALF, ENGINES, SHARE = 50, 2, 90
"""Percent of the units kept, fewest engines, percent of the predicted speedup that is enough."""
Ratio = tuple[float, float, float]
"""A ratio and its lower and upper quartile."""


def _places(evidence: Evidence) -> dict[str, DataFrame]:
    """HARDWARE/MODEL -> measurements in turn, of this model and of shapes with random weights."""
    in_turn = where(evidence.frame.timings, in_turn=True)
    return {
        f"{hardware}/{model}": timings
        for (hardware, model), timings in in_turn.groupby(["hardware", "model"])
        if model == evidence.model or timings.content.iloc[0]["random_weights"]
    }


def _named(
    evidence: Evidence, found: dict[str, Any], machines: Sequence[str]
) -> tuple[dict[str, Any], bool]:
    """Of places those of the paper's model on such machines, else all; whether it is the former.

    They are the paper's where each of its machines is among them.
    """
    known = [f"{RANDOM}{STAND_IN_FOR}"]
    known += [evidence.model] if evidence.context.model.published == STAND_IN_FOR else []
    places = {place: place.partition("/") for place in found}
    named = {
        p: found[p] for p, (machine, _, m) in places.items() if machine in machines and m in known
    }
    own = {places[p][0] for p in named} == {*machines}
    return (named, True) if own else (found, False)


def _trimmed(
    timings: DataFrame, evidence: Evidence, kept: float, compressor: str | None = None
) -> Any:
    """TrimLLM at about so many units: by the main recipe, else by the first pattern."""
    found = rows(derive.near(where(timings, base="trim", compressor=compressor), kept).sort_index())
    return min(found, key=lambda row: row.name != evidence.context.main.name, default=None)


def _spread(row: Any) -> Ratio:
    """Speedup over the full model, with quartiles; the full model's own is 1."""
    low, high = row.speedup_low, row.speedup_high
    return row.speedup, row.speedup if low is None else low, row.speedup if high is None else high


def _over(row: Any, other: Any) -> Ratio:
    """How many times as fast one is as the other, each measured in turn with the full model."""
    (own, low, high), (theirs, their_low, their_high) = _spread(row), _spread(other)
    return own / theirs, low / their_high, high / their_low


def _told(ratios: Mapping[str, Ratio]) -> str:
    return ", ".join(f"{one[0]:.2f} over {name}" for name, one in ratios.items())


def _fastest(ratios: Iterable[Ratio]) -> Ratio:
    """The largest, end by end."""
    value, low, high = map(max, zip(*ratios, strict=True))
    return value, low, high


@claim(
    f"tokens/s(TrimLLM {KEPT}%) / tokens/s(c) over the compressors c of Table 1: each ≥ 2.1, the "
    "largest ≥ 5.7 (as printed, to one digit)"
)
def speedup_consumer(evidence: Evidence) -> Finding:
    """TrimLLM as in Table 1 over every compressor, on consumer hardware."""
    ratios: dict[str, dict[str, Ratio]] = {}
    for place, timings in _places(evidence).items():
        full = rows(timings[timings.base.isin([FULL, FULL_FT]) & timings.compressor.notna()])
        if full and (trimmed := _trimmed(timings, evidence, KEPT)):
            ratios[place] = {row.compressor: _over(trimmed, row) for row in full}
    if not ratios:
        return missing("throughput of TrimLLM and of a compressor on one machine")
    shown, own = _named(evidence, ratios, CONSUMER)
    every = [one for place in shown.values() for one in place.values()]
    lacking = {place: [c for c in BASELINES if c not in found] for place, found in shown.items()}
    what = "; ".join(f"{', '.join(names)} on {place}" for place, names in lacking.items() if names)
    _, low, high = _fastest(every)
    # The largest may be one that was not measured: what is there cannot refute it.
    largest = above(low, high, MOST)
    answers = [above(low, high, LEAST) for _, low, high in every]
    holds, what = conclude([*answers, largest if largest or not what else None], what)
    told = listed(((place, _told(found)) for place, found in shown.items()), "{}: {}", "; ")
    numbers = {place: {c: one[0] for c, one in found.items()} for place, found in shown.items()}
    return Finding(holds, told, {"ratios": numbers}, missing=what, own=own)


@claim("max over TrimLLM [+ compressor] of speedup over the full model ≥ 3.1 (to one digit)")
def speedup_a100(evidence: Evidence) -> Finding:
    """The fastest TrimLLM, compressed or not, over the full model; the paper: 132.0 / 42.3."""
    trimmed = {place: rows(where(t, base="trim")) for place, t in _places(evidence).items()}
    found = {place: _fastest(map(_spread, each)) for place, each in trimmed.items() if each}
    if not found:
        return missing("throughput of TrimLLM")
    shown, own = _named(evidence, found, A100)
    told = listed(((place, one[0]) for place, one in shown.items()), "{}: {:.2f}", "; ")
    # "Up to": one place is enough.
    holds = above(*_fastest(shown.values())[1:], FASTEST)
    return Finding(holds, told, {"speedup": {p: one[0] for p, one in shown.items()}}, own=own)


@claim("bytes(full) / bytes(TrimLLM 50% + AWQ) ≥ 8 (to no digit) and speedup ≥ 4.5 (to one digit)")
def compression_8x(evidence: Evidence) -> Finding:
    """AWQ on the trimmed model: bytes and speed against the full one, in every place.

    The paper's 8 is 1 / 12.5%, half of the units at a quarter of the bits. Of all bytes of
    LLaMA-7B that is 6.1 to 8.2, by which units go: embeddings and head keep their bits.
    """
    found = {
        place: {"smaller": 100 / one.bytes_percent, "faster": one.speedup, "row": one}
        for place, timings in _places(evidence).items()
        if (one := _trimmed(timings, evidence, 50, "awq_int4"))
    }
    if not found:
        return missing("throughput of TrimLLM with AWQ")
    shown, own = _named(evidence, found, A100)
    answers = [one["smaller"] >= SMALLER for one in shown.values()]
    answers += [above(*_spread(one["row"])[1:], FASTER) for one in shown.values()]
    form = "{0}: {1[smaller]:.1f}x smaller, {1[faster]:.2f}x as fast"
    numbers = {p: {k: one[k] for k in ("smaller", "faster")} for p, one in shown.items()}
    holds, _ = conclude(answers)
    return Finding(holds, listed(shown.items(), form, "; "), {"found": numbers}, own=own)


@claim(
    f"in every engine and format measured, of {ENGINES} engines or more: speedup over the full "
    f"model there ≥ {SHARE}% of bytes(full) / bytes(TrimLLM {HALF}%), read in a step of batch 1"
)
def every_engine(evidence: Evidence) -> Finding:
    """What trimming gains in each engine, of what it must where memory is the bound."""
    table = where(evidence.frame.engines, model=evidence.model, batch=1, draft=False)
    trimmed = where(table, base="trim", name=evidence.context.main.name)
    found = {
        f"{hardware}/{format}": row
        for (hardware, format), group in trimmed.groupby(["hardware", "format"], sort=False)
        for row in rows(derive.near(group, HALF))[:1]
    }
    engines = sorted({row.engine for row in found.values()})
    if len(engines) < ENGINES:
        named = f" ({', '.join(engines)} alone was)" if engines else ""
        return missing(f"TrimLLM at {HALF}% in {ENGINES} engines or more{named}")
    # Of the prediction, which has no spread, as much as of the speedup.
    shares = {
        place: [row.share_decode / row.speedup * end for end in _spread(row)]
        for place, row in found.items()
    }
    holds, _ = conclude(above(low, high, SHARE) for _, low, high in shares.values())
    told = listed(((place, one[0]) for place, one in shares.items()), "{}: {:.0f}%", "; ")
    numbers = {"share": {place: one[0] for place, one in shares.items()}, "engines": engines}
    return Finding(holds, told, numbers, own=evidence.context.model.published is not None)


def _costs(evidence: Evidence) -> list[Cost]:
    """Cost of the chain in every domain that has a full and a sparse fine-tuning, which adapters
    are not."""
    chains = {} if evidence.context.lora else evidence.chains()
    found = [derive.cost(evidence.frame, chain) for chain in chains.values()]
    return [one for one in found if one and one.sparse_factor]


def _mean(found: Iterable[float | None]) -> Difference:
    """A mean over domains, of those that have one, with its t interval; one domain has none."""
    values = [one for one in found if one is not None]
    return Difference(fmean(values), *mean_interval(values), paired=False)


@claim(
    "time(Sparse-FT) / time(Full-FT) ≤ 0.6 and time(TrimLLM) / time(Full-FT) ≤ 0.4 (to one "
    "digit), scans left out"
)
def training_time(evidence: Evidence) -> Finding:
    """Seconds a token of sparse fine-tuning and of the chain, over full fine-tuning's."""
    costs = _costs(evidence)
    if not costs:
        return missing("full and sparse fine-tuning and the chain")
    sparse = _mean(one.sparse_factor for one in costs)
    trim = _mean(one.factor for one in costs)
    scans = fmean((one.with_scans[-1] - one.training[-1]) / one.training[-1] for one in costs)
    numbers = {
        **{"sparse": sparse.points, "trim": trim.points},
        **{"scans_over_training": scans, "domains": len(costs)},
    }
    told = (
        f"{sparse.points:.2f} ({sparse.low:.2f} to {sparse.high:.2f}) and {trim.points:.2f} "
        f"({trim.low:.2f} to {trim.high:.2f}), mean over {len(costs)} domains and its interval, "
        f"seconds a token; the scans take {scans:.1f} times as long as the chain's training"
    )
    bars = ((sparse, SPARSE), (trim, TRIM))
    holds, _ = conclude(above(-one.high, -one.low, -bar) for one, bar in bars)
    return Finding(holds, told, numbers)


@claim("Eq. 6 × f / N = 5 ± 1 epochs, N = 64, n_d = 32, f = measured Sparse-FT / Full-FT")
def two_per_epoch(evidence: Evidence) -> Finding:
    """The paper's own formula, with its factor of a sparse update and with ours."""
    full = progressive(PAPER_UNITS, PAPER_UNITS // 2, 2)
    numbers = {"paper": SPARSE_FACTOR * full, "factor_for_5": FULL_EPOCHS / full}
    theirs = f"with the paper's f = {SPARSE_FACTOR}: {numbers['paper']:.2f}"
    costs = _costs(evidence)
    if not costs:
        return missing(f"full and sparse fine-tuning; {theirs}", numbers)
    factor = _mean(one.sparse_factor for one in costs)
    low, epochs, high = (one * full for one in (factor.low, factor.points, factor.high))
    numbers |= {"factor": factor.points, "measured": epochs}
    told = (
        f"f = {factor.points:.2f}: {epochs:.2f} epochs ({low:.2f} to {high:.2f}); {theirs}; 5 "
        f"epochs would need f = {FULL_EPOCHS / full:.2f}, about the paper's TrimLLM / Full-FT of "
        "Table 9"
    )
    ends = above(low, high, FULL_EPOCHS - 1), above(-high, -low, -FULL_EPOCHS - 1)
    return Finding(conclude(ends)[0], told, numbers)
