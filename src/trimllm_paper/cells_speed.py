"""Cells of speed and of training time."""

from __future__ import annotations

from typing import Any

import pandas as pd

from trimllm_paper import derive, verdict
from trimllm_paper.blocks import NO_VERDICT, Block, Cell, Line
from trimllm_paper.context import Context
from trimllm_paper.frames import Frame, rows, where
from trimllm_paper.recipe import FULL, FULL_FT, Recipe
from trimllm_paper.specification import Column, Row
from trimllm_paper.verdict import NOT_RUN

APART = "not timed in turn"
"""Memory did not hold both models; such a row has no verdict."""


def timings_of(timings: pd.DataFrame, block: Block, row: Row) -> dict[str, Any]:
    """Measurements for a row: of the full model, or by chain or pattern, the row's first."""
    measured = where(timings, hardware=block.hardware, model=block.name)
    if row.format:
        measured = where(measured, format=row.format, batch=row.batch)
    if row.recipe:
        measured = where(measured, compressor=Recipe.parse(row.recipe).compressor)
        full = rows(measured[measured.base.isin([FULL, FULL_FT])])
        return {"": full[0]} if full else {}
    if row.format:
        measured = measured[measured.name.isin(row.names)]
    return derive.trimmed_timings(measured, row.kept, row.compressor, row.names)


def speed(line: Line, column: Column) -> Cell | None:
    """A figure of a measurement of throughput."""
    timing, figure, printed = line.timing, column.of, line.printed[column.key]
    if timing is None:
        return None
    value, judged = getattr(timing, figure), NO_VERDICT
    low, high = (getattr(timing, f"{figure}_{end}", None) for end in ("low", "high"))
    if figure.startswith("compiled"):
        judged = None, (timing.content.get("compiled") or {}).get("error", "")
    elif figure in ("decode", "speedup") and not timing.in_turn:
        judged = None, APART
    elif figure == "mem" and printed is not None:
        if timing.compressor and line.block.own_speed:
            judged = verdict.judge_size(value, printed, own=True)
    elif figure in ("decode", "speedup") and printed is not None:
        if line.block.own_speed:
            judged = verdict.judge_speed(value, float(printed))
        elif "baseline" in timing.content:
            paper = float(line.printed["speedup"] or 0)
            judged = verdict.judge_ratio(derive.speedup(timing), paper)
    return Cell(value, low, high, judged=judged, sources=(timing.source,))


def trim_over(line: Line, column: Column, trimmed: Any) -> Cell | None:
    """How many times as fast as the full, or compressed, model of this row TrimLLM is, both
    measured against the full model."""
    timing, printed, judged = line.timing, line.printed[column.key], NO_VERDICT
    if timing is None or trimmed is None:
        return None
    if timing.base not in (FULL, FULL_FT):
        return Cell()
    ratio = derive.over(trimmed, timing)
    if not (trimmed.in_turn and timing.in_turn):
        judged = None, APART
    elif printed is not None and line.block.own_speed:
        judged = verdict.judge_speed(ratio[0], float(printed))
    elif printed is not None:
        judged = verdict.judge_ratio(ratio, float(printed))
    return Cell(*ratio, judged=judged, sources=(trimmed.source, timing.source))


def time(line: Line, column: Column, frame: Frame, context: Context) -> Cell | None:
    """Minutes of training, or training or scans in percent of Full-FT's training."""
    epochs, what = column.epochs, next(filter(None, (line.row.recipe, *line.row.names)), "")
    place = (frame, line.block.name, context.timed.name)
    times = derive.training_time(*place, what, epochs)
    values, shares = times[column.of].dropna(), [*times.share.dropna()]
    if values.empty:
        return None
    if column.of == "scans" and not values.any():
        return Cell()  # fine-tuning scans nothing
    printed, result, why = line.printed[column.key], None, ""
    if printed is not None and context.lora:
        result, why = NOT_RUN, "LoRA-FT is no full fine-tuning, whose time the paper reports"
    elif printed is not None and what != FULL_FT:
        result, why = verdict.judge_share(shares, float(line.printed[f"share_{epochs}"] or 0))
    measured = times.measured.iloc[0]
    note = f"{measured} epochs measured"
    note += "" if measured >= epochs else f", their mean times {epochs}"
    return Cell(
        float(values.mean()),
        deviation=float(values.std()) if len(values) > 1 else None,
        n=int(times.measured.sum()),
        judged=(result, "; ".join(filter(None, [why, note]))),
        sources=tuple(source for sources in times.sources for source in sources),
    )
