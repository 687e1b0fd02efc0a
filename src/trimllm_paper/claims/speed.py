"""Claims on speed and memory, by the measurements of throughput; and on what training costs.

A printed number is meant to its last digit: 26.8 / 13.0 = 2.06 is the 2.1 of the paper, so the bar
of "2.1 times" is 2.05. Spreads are the quartiles of the rounds, which is what is recorded.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

from pandas import DataFrame

from trimllm_paper import derive
from trimllm_paper.claims.evidence import (
    Evidence,
    Finding,
    claim,
    conclude,
    listed,
    missing,
    pooled,
)
from trimllm_paper.context import STAND_IN_FOR
from trimllm_paper.derive import (
    FULL_EPOCHS,
    PAPER_UNITS,
    SPARSE_FACTOR,
    Cost,
    Ratio,
    over,
    progressive,
    speedup,
)
from trimllm_paper.frames import rows, where
from trimllm_paper.intervals import Difference, mean_interval
from trimllm_paper.recipe import FULL, FULL_FT
from trimllm_paper.shapes import RANDOM
from trimllm_paper.verdict import above, all_of

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
TRAININGS = "full and sparse fine-tuning and the chain"
TRAINED_ON = "2 a100"
"""The machine of the paper's Table 9, as `Frame.trainings` names it."""


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
    """TrimLLM at about so many units, as in Table 1: by the main recipe, else the first pattern."""
    found = rows(derive.near(where(timings, base="trim", compressor=compressor), kept).sort_index())
    named = {row.name: row for row in found}
    first = (evidence.context.main.name, *evidence.context.patterns, *named)
    return next((named[name] for name in first if name in named), None)


def _words(ratio: Sequence[float], unit: str = "", digits: int = 2) -> str:
    """A ratio with its quartiles."""
    value, low, high = (f"{one:.{digits}f}" for one in ratio)
    return f"{value}{unit} ({low} to {high})"


def _rounds(tables: Iterable[DataFrame]) -> dict[str, Any]:
    """The fewest rounds of some measurements, as a finding counts them; None if nobody told."""
    every = (content.get("protocol") for table in tables for content in table.content)
    return {"n": min((one["repeats"] for one in every if one), default=None), "counted": "rounds"}


def _told(ratios: Mapping[str, Ratio]) -> str:
    return ", ".join(f"{_words(one)} over {name}" for name, one in ratios.items())


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
    places = _places(evidence)
    for place, timings in places.items():
        full = rows(timings[timings.base.isin([FULL, FULL_FT]) & timings.compressor.notna()])
        if full and (trimmed := _trimmed(timings, evidence, KEPT)):
            ratios[place] = {row.compressor: over(trimmed, row) for row in full}
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
    rounds = _rounds(places[place] for place in shown)
    return Finding(holds, told, {"ratios": numbers}, missing=what, own=own, **rounds)


@claim("max over TrimLLM [+ compressor] of speedup over the full model ≥ 3.1 (to one digit)")
def speedup_a100(evidence: Evidence) -> Finding:
    """The fastest TrimLLM, compressed or not, over the full model; the paper: 132.0 / 42.3."""
    places = _places(evidence)
    trimmed = {place: rows(where(t, base="trim")) for place, t in places.items()}
    found = {place: _fastest(map(speedup, each)) for place, each in trimmed.items() if each}
    if not found:
        return missing("throughput of TrimLLM")
    shown, own = _named(evidence, found, A100)
    told = listed(((place, _words(one)) for place, one in shown.items()), "{}: {}", "; ")
    # "Up to": one place is enough.
    holds = above(*_fastest(shown.values())[1:], FASTEST)
    numbers, rounds = {p: one[0] for p, one in shown.items()}, _rounds(places[p] for p in shown)
    return Finding(holds, told, {"speedup": numbers}, own=own, **rounds)


@claim("bytes(full) / bytes(TrimLLM 50% + AWQ) ≥ 8 (to no digit) and speedup ≥ 4.5 (to one digit)")
def compression_8x(evidence: Evidence) -> Finding:
    """AWQ on the trimmed model: bytes and speed against the full one, in every place.

    The paper's 8 is 1 / 12.5%, half of the units at a quarter of the bits; of all bytes it is less,
    by which units go (`compression_with_awq` in published.yaml).
    """
    places = _places(evidence)
    found = {
        place: {"smaller": 100 / one.bytes_percent, "faster": one.speedup, "row": one}
        for place, timings in places.items()
        if (one := _trimmed(timings, evidence, 50, "awq_int4"))
    }
    if not found:
        return missing("throughput of TrimLLM with AWQ")
    shown, own = _named(evidence, found, A100)
    answers = [one["smaller"] >= SMALLER for one in shown.values()]
    answers += [above(*speedup(one["row"])[1:], FASTER) for one in shown.values()]
    words = {p: (one["smaller"], _words(speedup(one["row"]), "x")) for p, one in shown.items()}
    told = listed(((p, *one) for p, one in words.items()), "{}: {:.1f}x smaller, {} as fast", "; ")
    numbers = {p: {k: one[k] for k in ("smaller", "faster")} for p, one in shown.items()}
    holds, _ = conclude(answers)
    rounds = _rounds(places[place] for place in shown)
    return Finding(holds, told, {"found": numbers}, own=own, **rounds)


@claim(
    f"on every machine, in every engine and format measured, of {ENGINES} engines or more: speedup "
    f"over the full model there ≥ {SHARE}% of bytes(full) / bytes(TrimLLM {HALF}%), read in a step "
    "of batch 1"
)
def every_engine(evidence: Evidence) -> Finding:
    """What trimming gains in each engine, of what it must where memory is the bound.

    Of the paper's model what was measured on its GPUs counts, if anything was: one format that
    fails on one of them refutes it, and it holds in two engines or more on each.
    """
    table = where(evidence.frame.engines, model=evidence.model, batch=1)
    trimmed = where(table, base="trim", name=evidence.context.main.name)
    gpus = {*CONSUMER, *A100}
    if own := evidence.context.model.published is not None and not gpus.isdisjoint(
        trimmed.hardware
    ):
        trimmed = trimmed[trimmed.hardware.isin(gpus)]
    found = {
        f"{hardware}/{format}": row
        for (hardware, format), group in trimmed.groupby(["hardware", "format"], sort=False)
        for row in rows(derive.near(group, HALF))[:1]
    }
    engines: dict[str, set[str]] = {}
    for row in found.values():
        engines.setdefault(row.hardware, set()).add(row.engine)
    enough = {machine for machine, names in engines.items() if len(names) >= ENGINES}
    lacking = sorted((gpus if own else set(engines)) - enough)
    every = sorted({name for names in engines.values() for name in names})
    alone = f" ({', '.join(every)} alone was)" if every else ""
    few = "" if enough else f"TrimLLM at {HALF}% in {ENGINES} engines or more{alone}"
    if not found:
        return missing(few)
    # Of the prediction, which has no spread, as much as of the speedup.
    shares = {
        place: [row.share_decode / row.speedup * end for end in speedup(row)]
        for place, row in found.items()
    }
    answers = (above(low, high, SHARE) for _, low, high in shares.values())
    where_not = f"{ENGINES} engines on {', '.join(lacking)}" if lacking else ""
    holds, what = conclude(answers, few or where_not)
    words = ((place, _words(one, "%", 0)) for place, one in shares.items())
    told = listed(words, "{}: {}", "; ")
    numbers = {"share": {place: one[0] for place, one in shares.items()}, "engines": every}
    return Finding(holds, told, numbers, missing=what, own=own, **_rounds([trimmed]))


def _costs(evidence: Evidence) -> tuple[dict[str, Cost], dict[str, Any]]:
    """Cost of the chain in every domain that has a full and a sparse fine-tuning, which adapters
    are not; and what a finding on them says besides: it is the paper's where all was trained on the
    paper's machine.
    """
    chains = {} if evidence.context.lora else evidence.chains()
    every = {name: derive.cost(evidence.frame, chain) for name, chain in chains.items()}
    found = {name: one for name, one in every.items() if one and one.sparse_factor}
    own = evidence.context.own and {one.machine for one in found.values()} == {TRAINED_ON}
    told = {"own": own, "n": len(found), "counted": "domains", "seeds": 1}
    return found, told | {"before": evidence.within(found)}


def _mean(found: Iterable[float | None]) -> Difference:
    """A mean over domains, of those that have one, with its t interval."""
    values = [one for one in found if one is not None]
    return Difference(fmean(values), *mean_interval(values), paired=False)


def _around(one: Difference) -> str:
    """A mean with its interval, which one domain does not have."""
    if math.isinf(one.high):
        return f"{one.points:.2f} (one domain: no interval)"
    return f"{one.points:.2f} ({one.low:.2f} to {one.high:.2f})"


def _below(one: Difference, bar: float) -> Difference:
    """How much more a bar is than a mean."""
    return Difference(bar - one.points, bar - one.high, bar - one.low, paired=False)


@claim(
    "time(Sparse-FT) / time(Full-FT) ≤ 0.6 and time(TrimLLM) / time(Full-FT) ≤ 0.4 (to one "
    "digit), scans left out"
)
def training_time(evidence: Evidence) -> Finding:
    """Seconds a token of sparse fine-tuning and of the chain, over full fine-tuning's."""
    costs, told_of = _costs(evidence)
    if not costs:
        return missing(TRAININGS)
    each = costs.values()
    sparse = _mean(one.sparse_factor for one in each)
    trim = _mean(one.factor for one in each)
    scans = fmean((one.with_scans[-1] - one.training[-1]) / one.training[-1] for one in each)
    numbers = {
        **{"sparse": sparse.points, "trim": trim.points},
        **{"scans_over_training": scans, "domains": len(costs)},
    }
    told = (
        f"{_around(sparse)} and {_around(trim)}, mean over domains and its interval, seconds a "
        f"token; the scans take {scans:.1f} times as long as the chain's training"
    )
    bars = {"Sparse-FT": (sparse, SPARSE), "TrimLLM": (trim, TRIM)}
    answers = (above(-one.high, -one.low, -bar) for one, bar in bars.values())
    holds, what = pooled(all_of(answers), evidence.lacking(costs, TRAININGS))
    below = {f"{name} below {bar:g}": _below(one, bar) for name, (one, bar) in bars.items()}
    return Finding(holds, told, numbers, missing=what, differences=below, **told_of)


@claim("Eq. 6 × f / N = 5 ± 1 epochs, N = 64, n_d = 32, f = measured Sparse-FT / Full-FT")
def two_per_epoch(evidence: Evidence) -> Finding:
    """The paper's own formula, with its factor of a sparse update and with ours."""
    full = progressive(PAPER_UNITS, PAPER_UNITS // 2, 2)
    numbers = {"paper": SPARSE_FACTOR * full, "factor_for_5": FULL_EPOCHS / full}
    theirs = f"with the paper's f = {SPARSE_FACTOR}: {numbers['paper']:.2f}"
    costs, told_of = _costs(evidence)
    if not costs:
        return missing(f"{TRAININGS}; {theirs}", numbers)
    factor = _mean(one.sparse_factor for one in costs.values())
    epochs = _mean(one.sparse_factor and one.sparse_factor * full for one in costs.values())
    numbers |= {"factor": factor.points, "measured": epochs.points}
    told = (
        f"f = {factor.points:.2f}: {_around(epochs)} epochs, mean over domains and its interval; "
        f"{theirs}; 5 epochs would need f = {FULL_EPOCHS / full:.2f}, about the paper's TrimLLM / "
        "Full-FT of Table 9"
    )
    least, most = FULL_EPOCHS - 1, FULL_EPOCHS + 1
    answers = above(epochs.low, epochs.high, least), above(-epochs.high, -epochs.low, -most)
    holds, what = pooled(all_of(answers), evidence.lacking(costs, TRAININGS))
    below = {f"epochs below {most}": _below(epochs, most)}
    return Finding(holds, told, numbers, missing=what, differences=below, **told_of)
