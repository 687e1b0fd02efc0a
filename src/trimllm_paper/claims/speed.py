"""Claims on speed and memory, and on what training costs.

A printed number is meant to its last digit: 26.8 / 13.0 = 2.06 is the 2.1 of the paper, so the bar
of "2.1 times" is 2.05.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from pandas import DataFrame

from trimllm_paper import derive
from trimllm_paper.claims.evidence import (
    Comparison,
    Evidence,
    Finding,
    compare,
    compare_mean,
    joined,
)
from trimllm_paper.context import STAND_IN_FOR
from trimllm_paper.derive import PAPER_UNITS, SPARSE_FACTOR, Ratio, over, progressive, speedup
from trimllm_paper.frames import rows, where
from trimllm_paper.recipe import FULL, FULL_FT, SPARSE_FT
from trimllm_paper.shapes import RANDOM

CONSUMER, A100 = ("v100", "rtx3090"), ("a100",)
BASELINES = ("sparsegpt_2_4", "llm_int8", "gptq_int4", "awq_int4")
"""Compressors that Table 1 compares with."""
ENGINES, OF_PREDICTED = 2, 90
"""Fewest engines, and percent of the predicted speedup that is enough."""
EPOCHS, TRAINED_ON = 8, "2 a100"
"""Epochs of the last column of Table 9, and its machine as `Frame.trainings` names it."""
Timed = tuple[str, Ratio, Any]
"""Name of what was timed, how many times as fast it is, and the measurement."""


def speedup_consumer(evidence: Evidence) -> Finding:
    """TrimLLM as in Table 1, at 40%, over every compressor, on consumer hardware."""
    by_place: dict[str, list[Timed]] = {}
    for place, timings in _places(evidence).items():
        full = rows(timings[timings.base.isin([FULL, FULL_FT]) & timings.compressor.notna()])
        if full and (trimmed := _trimmed(timings, evidence, 40)):
            by_place[place] = [(one.compressor, over(trimmed, one), trimmed) for one in full]
    if not by_place:
        return Finding(missing="throughput of TrimLLM and of a compressor on one machine")
    shown, own = _of_paper(evidence, by_place, CONSUMER)
    missing, comparisons = [], []
    for place, each in shown.items():
        lacking = ", ".join({*BASELINES} - {name for name, *_ in each})
        missing += [f"{lacking} on {place}"] if lacking else []
        comparisons += [_faster(f"{place}: over {one[0]}", one, 2.1 - 0.05) for one in each]
    if not missing:  # the largest may be one that was not measured
        comparisons.append(_faster("the largest", _largest(shown), 5.7 - 0.05))
    return Finding(comparisons, joined(missing), own)


def speedup_a100(evidence: Evidence) -> Finding:
    """The fastest TrimLLM, compressed or not, over the full model; the paper: 132.0 / 42.3."""
    by_place = {
        place: [(f"{one.recipe} on {place}", speedup(one), one) for one in trimmed]
        for place, timings in _places(evidence).items()
        if (trimmed := rows(where(timings, base="trim")))
    }
    if not by_place:
        return Finding(missing="throughput of TrimLLM")
    shown, own = _of_paper(evidence, by_place, A100)
    fastest = _largest(shown)
    return Finding([_faster(fastest[0], fastest, 3.1 - 0.05)], own=own)


def compression_8x(evidence: Evidence) -> Finding:
    """AWQ on the trimmed model: bytes and speed against the full one.

    The paper's 8 is 1 / 12.5%, half of the sublayers at a quarter of the bits.
    """
    by_place = {
        place: one
        for place, timings in _places(evidence).items()
        if (one := _trimmed(timings, evidence, 50, "awq_int4"))
    }
    if not by_place:
        return Finding(missing="throughput of TrimLLM with AWQ")
    shown, own = _of_paper(evidence, by_place, A100)
    sizes = {place: 100 / one.bytes_percent for place, one in shown.items()}
    smaller = [
        compare(place, size, (size, size), "times smaller", least=8 - 0.5)
        for place, size in sizes.items()
    ]
    faster = [_faster(p, (p, speedup(one), one), 4.5 - 0.05) for p, one in shown.items()]
    return Finding([*smaller, *faster], own=own)


def every_engine(evidence: Evidence) -> Finding:
    """What trimming gains in each engine, in percent of what the bytes that it saves predict."""
    table = where(evidence.frame.engines, model=evidence.model, batch=1)
    trimmed = where(table, base="trim", name=evidence.context.chains[0])
    comparisons, engines = [], dict[str, set[str]]()
    for (hardware, format), group in trimmed.groupby(["hardware", "format"], sort=False):
        for row in rows(derive.near(group, 50))[:1]:
            engines.setdefault(hardware, set()).add(row.engine)
            percent, low, high = (row.share_decode / row.speedup * x for x in speedup(row))
            unit, basis = "% of the predicted speedup", f"{_rounds(row)} rounds"
            bar = {"least": OF_PREDICTED, "dof": _rounds(row) - 1}
            name = f"{hardware}/{format}"
            comparisons.append(compare(name, percent, (low, high), unit, basis, **bar))
    # Of the paper's model, on its GPUs: all of them are asked for, and no others count.
    own = bool(evidence.context.model.published) and {*engines} <= {*CONSUMER, *A100}
    machines = {*CONSUMER, *A100} if own else {*engines}
    few = [one for one in sorted(machines) if len(engines.get(one, ())) < ENGINES]
    missing = f"{ENGINES} engines{' on ' if few else ''}{', '.join(few)}"
    return Finding(comparisons, missing if few or not comparisons else "", own)


def training_time(evidence: Evidence) -> Finding:
    """Time of sparse fine-tuning and of the chain over full fine-tuning's, as in Table 9."""
    shares, missing, own = _shares_of_full_ft(evidence)
    unit = "of Full-FT's time"
    comparisons = [
        compare_mean(name, [one[name] for one in shares.values()], unit, "domains", most=most)
        for name, most in (("Sparse-FT", 0.6 + 0.05), ("TrimLLM", 0.4 + 0.05))
        if shares
    ]
    each = (f"{d} {one['Sparse-FT']:.2f} and {one['TrimLLM']:.2f}" for d, one in shares.items())
    note = f"By domain, scans left out: {', '.join(each)}." if shares else ""
    return Finding(comparisons, missing, own, pooled=True, note=note)


def two_per_epoch(evidence: Evidence) -> Finding:
    """The paper's Eq. 6 for N = 64 and n_d = 32, with the measured factor of a sparse update."""
    full = progressive(PAPER_UNITS, PAPER_UNITS // 2, 2)
    shares, missing, own = _shares_of_full_ft(evidence)
    epochs = [full * one["Sparse-FT"] for one in shares.values()]
    comparisons = [
        compare_mean(name, epochs, "epochs of Full-FT", "domains", **bar)
        for name, bar in (("5 - 1 at least", {"least": 4}), ("5 + 1 at most", {"most": 6}))
        if epochs
    ]
    note = f"With the paper's factor of {SPARSE_FACTOR} Eq. 6 gives {SPARSE_FACTOR * full:.2f}; "
    note += f"5 epochs would need a factor of {5 / full:.2f}."
    return Finding(comparisons, missing, own, pooled=True, note=note)


# ---- timings -------------------------------------------------------------------------------------


def _places(evidence: Evidence) -> dict[str, DataFrame]:
    """HARDWARE/MODEL -> measurements in turn, of this model and of shapes with random weights."""
    in_turn = where(evidence.frame.timings, in_turn=True)
    return {
        f"{hardware}/{model}": timings
        for (hardware, model), timings in in_turn.groupby(["hardware", "model"])
        if model == evidence.model or timings.content.iloc[0]["random_weights"]
    }


def _of_paper(
    evidence: Evidence, by_place: dict[str, Any], machines: Sequence[str]
) -> tuple[dict[str, Any], bool]:
    """Measurements of the paper's model if all of the paper's machines have them, else all; and
    whether it is the former."""
    known = {f"{RANDOM}{STAND_IN_FOR}"}
    if evidence.context.model.published == STAND_IN_FOR:
        known.add(evidence.model)
    places = {place: place.split("/") for place in by_place}
    named = {p: by_place[p] for p, (where, m) in places.items() if where in machines and m in known}
    own = {places[place][0] for place in named} == {*machines}
    return (named, True) if own else (by_place, False)


def _trimmed(
    timings: DataFrame, evidence: Evidence, kept: float, compressor: str | None = None
) -> Any:
    """TrimLLM at a kept fraction: of the main recipe, else of the first pattern."""
    near = rows(derive.near(where(timings, base="trim", compressor=compressor), kept).sort_index())
    named = {row.name: row for row in near}
    first = (evidence.context.chains[0], *evidence.context.patterns, *named)
    return next((named[name] for name in first if name in named), None)


def _rounds(row: Any) -> int:
    return int(row.content["protocol"]["repeats"])


def _faster(name: str, one: Timed, least: float) -> Comparison:
    _, (ratio, *ends), row = one
    rounds, unit = _rounds(row), "times as fast"
    basis, bar = f"{rounds} rounds", {"least": least, "dof": rounds - 1}
    return compare(name, ratio, (ends[0], ends[1]), unit, basis, **bar)


def _largest(shown: dict[str, list[Timed]]) -> Timed:
    return max((one for each in shown.values() for one in each), key=lambda one: one[1])


def _shares_of_full_ft(evidence: Evidence) -> tuple[dict[str, dict[str, float]], str, bool]:
    """Domain -> time of Sparse-FT and of the chain over Full-FT's, seconds a token, mean over
    seeds, as Table 9 has them; what is missing; whether all was trained on the paper's machine.
    """
    shares, context = dict[str, dict[str, float]](), evidence.context
    chains = derive.chains(evidence.frame, model=evidence.model, name=evidence.chain())
    epochs = min([EPOCHS, *(len(chain.epochs) for chain in chains)])
    for domain in () if context.lora else context.domains:  # adapters are no full fine-tuning
        place = (evidence.frame, evidence.model, domain.name)
        names = {"Sparse-FT": SPARSE_FT, "TrimLLM": evidence.chain()}
        each = {key: derive.shares_of_full_ft(*place, what, epochs) for key, what in names.items()}
        if all(each.values()):
            shares[domain.name] = {key: fmean(runs) / 100 for key, runs in each.items()}
    missing = evidence.lacking(shares, "full and sparse fine-tuning and the chain")
    tables = (evidence.frame.trainings, evidence.frame.epochs)
    machines = {name for one in tables for name in where(one, model=evidence.model).machine}
    return shares, missing, context.own and machines == {TRAINED_ON}
