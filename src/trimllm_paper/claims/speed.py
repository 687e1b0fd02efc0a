"""Claims on speed and memory, and on what training costs.

A printed number is meant to its last digit: 26.8 / 13.0 = 2.06 is the 2.1 of the paper, so the bar
of "2.1 times" is 2.05.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pandas import DataFrame

from trimllm_paper import derive
from trimllm_paper.claims.evidence import Comparison, Estimate, Evidence, Finding, compare
from trimllm_paper.context import STAND_IN_FOR
from trimllm_paper.derive import PAPER_UNITS, Ratio, over, progressive, speedup
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


def speedup_consumer(evidence: Evidence) -> Finding:
    """TrimLLM as in Table 1, at 40%, over every compressor, on consumer hardware."""
    timings, own = _timings(evidence, CONSUMER)
    ratios = [
        (place, one.compressor, over(trimmed, one), trimmed)
        for place, timed in timings.groupby("place")
        if (trimmed := _trimmed(timed, evidence, 40))
        for one in rows(timed[timed.base.isin([FULL, FULL_FT]) & timed.compressor.notna()])
    ]
    if not ratios:
        return Finding(missing=["throughput of TrimLLM and of a compressor on one machine"])
    comparisons = [
        _faster(f"{place}: over {other}", ratio, row, 2.1 - 0.05)
        for place, other, ratio, row in ratios
    ]
    measured = {(place, compressor) for place, compressor, *_ in ratios}
    places = dict.fromkeys(timings.place if own else [place for place, *_ in ratios])
    pairs = [(place, one) for place in places for one in BASELINES]
    missing = [f"{one} on {place}" for place, one in pairs if (place, one) not in measured]
    if not missing:  # the largest may be one that was not measured
        _, _, ratio, row = max(ratios, key=lambda one: one[2])
        comparisons.append(_faster("the largest", ratio, row, 5.7 - 0.05))
    return Finding(comparisons, missing, own)


def speedup_a100(evidence: Evidence) -> Finding:
    """The fastest TrimLLM, compressed or not, over the full model; the paper: 132.0 / 42.3."""
    timings, own = _timings(evidence, A100)
    trimmed = rows(where(timings, base="trim").sort_values("speedup"))
    if not trimmed:
        return Finding(missing=["throughput of TrimLLM"])
    one = trimmed[-1]
    comparison = _faster(f"{one.recipe} on {one.place}", speedup(one), one, 3.1 - 0.05)
    return Finding([comparison], own=own)


def compression_8x(evidence: Evidence) -> Finding:
    """AWQ on the trimmed model: bytes and speed against the full one.

    The paper's 8 is 1 / 12.5%, half of the sublayers at a quarter of the bits.
    """
    timings, own = _timings(evidence, A100)
    chosen = [_trimmed(each, evidence, 50, "awq_int4") for _, each in timings.groupby("place")]
    trimmed = [one for one in chosen if one]
    smaller = [
        compare(one.place, Estimate(*[100 / one.bytes_percent] * 3), "times smaller", 8 - 0.5)
        for one in trimmed
    ]
    faster = [_faster(one.place, speedup(one), one, 4.5 - 0.05) for one in trimmed]
    missing = [] if trimmed else ["throughput of TrimLLM with AWQ"]
    return Finding([*smaller, *faster], missing, own)


def every_engine(evidence: Evidence) -> Finding:
    """What trimming gains in each engine, in percent of what the bytes that it saves predict."""
    table = where(evidence.frame.engines, model=evidence.model, batch=1)
    trimmed = where(table, base="trim", name=evidence.context.chains[0])
    comparisons, engines = [], dict[str, set[str]]()
    for (hardware, format), group in trimmed.groupby(["hardware", "format"], sort=False):
        for row in rows(derive.near(group, 50))[:1]:
            engines.setdefault(hardware, set()).add(row.engine)
            ratio, low, high = speedup(row)
            part = row.share_decode / ratio
            share = (part * ratio, part * low, part * high)
            name, unit = f"{hardware}/{format}", "% of the predicted speedup"
            comparisons.append(compare(name, Estimate.rounds(share, row), unit, OF_PREDICTED))
    # Of the paper's model on its GPUs: all of them are needed, and no others count.
    own = bool(evidence.context.model.published) and {*engines} <= {*CONSUMER, *A100}
    machines = {*CONSUMER, *A100} if own else {*engines}
    few = [one for one in sorted(machines) if len(engines.get(one, ())) < ENGINES]
    missing = [f"{ENGINES} engines{' on ' if few else ''}{', '.join(few)}"]
    return Finding(comparisons, missing if few or not comparisons else [], own)


def training_time(evidence: Evidence) -> Finding:
    """Time of sparse fine-tuning and of the chain over full fine-tuning's, as in Table 9."""
    shares, missing, own = _shares_of_full_ft(evidence)
    comparisons = []
    for name, bar in (("Sparse-FT", 0.6 + 0.05), ("TrimLLM", 0.4 + 0.05)):
        if values := [share[name] for share in shares.values()]:
            mean, unit = Estimate.mean(values, "domains"), "of Full-FT's time"
            comparisons.append(compare(name, mean, unit, bar, at_most=True))
    return Finding(comparisons, missing, own, pooled=True)


def two_per_epoch(evidence: Evidence) -> Finding:
    """The paper's Eq. 6 for N = 64 and n_d = 32, with the measured factor of a sparse update."""
    shares, missing, own = _shares_of_full_ft(evidence)
    if not shares:
        return Finding(missing=missing)
    full, unit = progressive(PAPER_UNITS, PAPER_UNITS // 2, 2), "epochs of Full-FT"
    epochs = Estimate.mean([full * share["Sparse-FT"] for share in shares.values()], "domains")
    least = compare("5 - 1 at least", epochs, unit, 4)
    most = compare("5 + 1 at most", epochs, unit, 6, at_most=True)
    return Finding([least, most], missing, own, pooled=True)


# ---- timings -------------------------------------------------------------------------------------


def _timings(evidence: Evidence, machines: Sequence[str]) -> tuple[DataFrame, bool]:
    """Measurements in turn, with their `place` HARDWARE/MODEL: of the paper's model if all of the
    paper's machines have some, else of this model and of shapes with random weights; and whether
    they are the paper's."""
    timings = where(evidence.frame.timings, in_turn=True)
    timings = timings.assign(place=timings.hardware + "/" + timings.model)
    shapes, paper = timings.model.str.startswith(RANDOM), [f"{RANDOM}{STAND_IN_FOR}"]
    if evidence.context.model.published == STAND_IN_FOR:
        paper.append(evidence.model)
    own = timings[timings.hardware.isin(machines) & timings.model.isin(paper)]
    if {*own.hardware} == {*machines}:
        return own, True
    return timings[shapes | (timings.model == evidence.model)], False


def _trimmed(
    timings: DataFrame, evidence: Evidence, kept: float, compressor: str | None = None
) -> Any:
    """TrimLLM at a kept fraction: of the main recipe, else of the first pattern."""
    first = (evidence.context.chains[0], *evidence.context.patterns)
    return next(iter(derive.trimmed_timings(timings, kept, compressor, first).values()), None)


def _faster(name: str, ratio: Ratio, timing: Any, bar: float) -> Comparison:
    return compare(name, Estimate.rounds(ratio, timing), "times as fast", bar)


def _shares_of_full_ft(evidence: Evidence) -> tuple[dict[str, dict[str, float]], list[str], bool]:
    """Domain -> time of Sparse-FT and of the chain over Full-FT's, seconds a token, mean over
    seeds, as in Table 9; what is missing; whether all was trained on the paper's machine."""
    context, frame, model = evidence.context, evidence.frame, evidence.model
    what = {"Sparse-FT": SPARSE_FT, "TrimLLM": evidence.chain()}
    chains = derive.chains(frame, model=model, name=evidence.chain())
    epochs = min([EPOCHS, *map(len, chains)])
    shares = {}
    for domain in () if context.lora else context.domains:  # adapters are no full fine-tuning
        place = (frame, model, domain.name)
        runs = {k: derive.training_time(*place, one, epochs).share for k, one in what.items()}
        if all(run.notna().any() for run in runs.values()):
            shares[domain.name] = {key: run.mean() / 100 for key, run in runs.items()}
    missing = evidence.lacking(shares, "full and sparse fine-tuning and the chain")
    trained = [where(one, model=model) for one in (frame.trainings, frame.epochs)]
    machines = {machine for one in trained for machine in one.machine}
    return shares, missing, context.own and machines == {TRAINED_ON}
