"""Words of a table: heads of columns, the lines above it (stand-ins) and below (documents, seeds).

What concerns single cells (commits, losses, seeds) stands in the CSV.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from trimllm_paper import published
from trimllm_paper.context import BY_LORA, FULL, Context
from trimllm_paper.frames import Frame
from trimllm_paper.specification import Column, Table
from trimllm_paper.tier import tier_note


def named(column: Column, spec: Table, frame: Frame, context: Context) -> Column:
    """A column with the label of what was measured."""
    label = context.named(column.label)
    if label != column.label:
        label += f" (the paper's of {FULL})"
    if column.shows == "accuracy" and _evaluations(column, frame).token_f1.notna().any():
        label += " (F1)"
    if column.shows == "speed" and spec.blocks == "both":
        trimmed = frame.timings[frame.timings.base == "trim"].content
        timed = {content["domain"] for content in trimmed if content.get("domain")}
        labels = {domain.name: domain.label for domain in context.domains}
        if names := [labels.get(name, name) for name in sorted(timed)]:
            label += f", checkpoint of {' or '.join(names)}"
    return replace(column, label=label)


def _evaluations(column: Column, frame: Frame) -> pd.DataFrame:
    tasks = column.domain.tasks if column.domain else ()
    return frame.evaluations[frame.evaluations.task.isin(tasks)]


def stand_in(column: Column, frame: Frame) -> str | None:
    """What the documents of a column are, if not the paper's: by their records, or its domain."""
    recorded = dict.fromkeys(_evaluations(column, frame).stand_in)
    known = column.domain.stand_in if column.domain else None
    return "; ".join(filter(None, recorded)) or known


def header(
    spec: Table,
    frame: Frame,
    context: Context,
    columns: Sequence[Column],
    stand_ins: Mapping[str, str | None],
) -> Iterator[str]:
    """What the measured numbers stand on."""
    compared = published.LABELS[spec.compared]
    timings = frame.engines if spec.blocks == "engine" else frame.timings
    if spec.blocks in ("machine", "engine"):
        protocols = (content.get("protocol") for content in timings.content)
        keys = ("prompt", "generate", "repeats")
        for one in sorted({tuple(found[key] for key in keys) for found in protocols if found}):
            yield (
                "Ours: {} prompt and {} generated tokens; median of {} rounds in fresh processes, "
                "each in turn with the full model".format(*one)
            )
        strangers = ", ".join(sorted({*timings.hardware} - {*spec.gpus}))
        for gpu in [*spec.gpus.values()][:1] if strangers else ():
            yield f"{strangers}: not the paper's hardware; set beside the paper's {gpu}"
    models = ", ".join(model.label for model in spec.models if not model.published)
    if models and any(column.shows == "accuracy" for column in columns):
        yield f"Stand-in model: {models} in place of {compared}"
    if context.lora and spec.blocks != "machine":
        yield (
            f"Stand-in for full fine-tuning: {BY_LORA}, adapters beside frozen weights, merged at "
            f"the end. No verdict is one on {FULL}, which the paper's lines show"
        )
    for column in columns:
        if documents := stand_ins.get(column.key):
            yield f"Stand-in data, column {column.label}: {documents}"
    provenances = [*frame.trainings.provenance, *frame.epochs.provenance]
    trained = dict.fromkeys(filter(None, map(_machine, provenances)))
    if any(c.shows == "time" for c in columns) and len(trained) > 1:
        yield f"Warning: times come from several machines: {'; '.join(trained)}"


def notes(
    spec: Table, frame: Frame, cells: pd.DataFrame, columns: Sequence[Column]
) -> Iterator[str]:
    """The paper's contradictions, test documents and seeds, and the source of the numbers."""
    if known := published.contradictions(table=spec.key):
        yield f"In the paper itself: {' '.join(one['text'] for one in known)}"
    accuracies = [column for column in columns if column.shows == "accuracy"]
    if documents := list(filter(None, (_documents(column, cells) for column in accuracies))):
        seeds = frame.evaluations.groupby(["model", "domain", "task", "recipe"]).seed.nunique()
        seeds_note = "One seed: intervals cover the test documents alone (Wilson)."
        if (most := frame.evaluations.seed.nunique()) > 1:
            seeds_note = (
                f"Means of {most} seeds; intervals cover documents and seeds, whose variance is "
                "pooled over the cells of a recipe."
            )
            if seeds.min() < most:
                seeds_note += f" Some cells have {seeds.min()} (column `seeds` of the CSV)."
        yield f"Test documents: {', '.join(documents)}. {seeds_note}"
    measured = [(frame.evaluations, "evaluations")] if accuracies else []
    timings = frame.engines if spec.blocks == "engine" else frame.timings
    measured += [(timings, "timings (first seed)")] if spec.blocks != "model" else []
    if any(column.shows == "time" for column in columns):
        parts = [table for table in (frame.trainings, frame.epochs) if len(table)]
        measured += [(pd.concat(parts) if parts else frame.epochs, "passes and epochs")]
    sources = [_source(table, what) for table, what in measured if len(table)]
    text = f"{'; '.join(sources)}. Commits are in the CSV."
    yield text if sources else "Nothing is measured yet."


def _documents(column: Column, cells: pd.DataFrame) -> str:
    """Test documents and chance level of a column of accuracy; "" if nothing was measured."""
    measured = cells[(cells.column == column.key) & cells.n.notna()]
    if measured.empty:
        return ""
    sizes = dict.fromkeys((int(measured.n.min()), int(measured.n.max())))
    chance = sorted({one["chance"] for one in measured.details if one["chance"] is not None})
    words = f"chance {' or '.join(f'{level:.1f}%' for level in chance)}" if chance else ""
    if any("token_f1" in one for one in measured.details):
        words = "free answers, F1 of words"
    return f"{column.label} {' to '.join(map(str, sizes))}" + (f" ({words})" if words else "")


def _source(table: pd.DataFrame, what: str) -> str:
    """How many measurements, of which run, on which machines."""
    machines = dict.fromkeys(filter(None, map(_machine, table.provenance)))
    on = f" on {', '.join(machines)}" if machines else ""
    return f"{tier_note(table.source)}: {len(table)} {what}{on}"


def _machine(provenance: Mapping[str, Any]) -> str:
    hardware = provenance.get("hardware") or {}
    name = hardware.get("gpu") or hardware.get("cpu") or ""
    cores = hardware.get("threads") or hardware.get("cores")
    return f"{name}, {cores} cores" if name and cores and not hardware.get("gpu") else str(name)
