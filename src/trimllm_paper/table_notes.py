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
from trimllm_paper.frames import Frame, tier_note
from trimllm_paper.render import DAGGER
from trimllm_paper.specification import Column, Table


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
        checkpoints = " or ".join(labels.get(name, name) for name in sorted(timed))
        label += f", checkpoint of {checkpoints}" if timed else ""
    return replace(column, label=label + (DAGGER if stand_in(column, frame) else ""))


def _evaluations(column: Column, frame: Frame) -> pd.DataFrame:
    tasks = column.domain.tasks if column.domain else ()
    return frame.evaluations[frame.evaluations.task.isin(tasks)]


def stand_in(column: Column, frame: Frame) -> str | None:
    """What the documents of a column of accuracy are, if not the paper's: by their records, or its
    domain."""
    if column.shows != "accuracy" or column.domain is None:
        return None
    recorded = dict.fromkeys(_evaluations(column, frame).stand_in)
    return "; ".join(filter(None, recorded)) or column.domain.stand_in


def header(spec: Table, frame: Frame, context: Context, columns: Sequence[Column]) -> Iterator[str]:
    """What the measured numbers stand on."""
    timings = spec.timings(frame)
    if spec.blocks in ("machine", "engine"):
        protocols = [content["protocol"] for content in timings.content]
        for prompt, generate, repeats in sorted(
            {(one["prompt"], one["generate"], one["repeats"]) for one in protocols}
        ):
            yield (
                f"Ours: {prompt} prompt and {generate} generated tokens; median of {repeats} "
                "rounds in fresh processes, each in turn with the full model"
            )
        strangers = ", ".join(sorted({*timings.hardware} - {*spec.gpus}))
        for gpu in [*spec.gpus.values()][:1] if strangers else ():
            yield f"{strangers}: not the paper's hardware; set beside the paper's {gpu}"
    models = ", ".join(model.label for model in spec.models if not model.published)
    if models and any(column.shows == "accuracy" for column in columns):
        yield f"Stand-in model: {models} in place of {published.LABELS[spec.compared]}"
    if context.lora and spec.blocks != "machine":
        yield (
            f"Stand-in for full fine-tuning: {BY_LORA}, adapters beside frozen weights, merged at "
            f"the end. No verdict is one on {FULL}, which the paper's lines show"
        )
    for column in columns:
        if documents := stand_in(column, frame):
            yield f"Stand-in data, column {column.label.removesuffix(DAGGER)}: {documents}"


def notes(
    spec: Table, frame: Frame, cells: pd.DataFrame, columns: Sequence[Column]
) -> Iterator[str]:
    """The paper's contradictions, test documents and seeds, and the source of the numbers."""
    if known := published.contradictions(table=spec.key):
        yield f"In the paper itself: {' '.join(one['text'] for one in known)}"
    documents = (_documents(c, cells) for c in columns if c.shows == "accuracy")
    if tested := ", ".join(filter(None, documents)):
        yield f"Test documents: {tested}. {_seeds(frame.evaluations)}"
    shown = {column.shows for column in columns}
    measured = {
        "evaluations": [frame.evaluations] if "accuracy" in shown else [],
        "timings (first seed)": [spec.timings(frame)] if spec.blocks != "model" else [],
        "passes and epochs": [frame.trainings, frame.epochs] if "time" in shown else [],
    }
    sources = []
    for what, tables in measured.items():
        if count := sum(map(len, tables)):
            machines = ", ".join(_machines([p for one in tables for p in one.provenance]))
            origin = tier_note([source for one in tables for source in one.source])
            sources.append(f"{origin}: {count} {what}" + (f" on {machines}" if machines else ""))
    text = f"{'; '.join(sources)}. Commits are in the CSV."
    yield text if sources else "Nothing is measured yet."


def _seeds(evaluations: pd.DataFrame) -> str:
    """What intervals cover."""
    most = evaluations.seed.nunique()
    if most == 1:
        return "One seed: intervals cover the test documents alone (Wilson)."
    note = (
        f"Means of {most} seeds; intervals cover documents and seeds, whose variance is "
        "pooled over the cells of a recipe."
    )
    fewest = evaluations.groupby(["model", "domain", "task", "recipe"]).seed.nunique().min()
    some = f" Some cells have {fewest} (column `seeds` of the CSV)."
    return note + (some if fewest < most else "")


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
    label, many = column.label.removesuffix(DAGGER), " to ".join(map(str, sizes))
    return f"{label} {many}" + (f" ({words})" if words else "")


def _machines(provenances: Sequence[Mapping[str, Any]]) -> list[str]:
    """GPUs, or processors with their cores, each once."""
    names = []
    for provenance in provenances:
        hardware = provenance.get("hardware") or {}
        name = str(hardware.get("gpu") or hardware.get("cpu") or "")
        cores = hardware.get("threads") or hardware.get("cores")
        names.append(f"{name}, {cores} cores" if cores and not hardware.get("gpu") else name)
    return list(dict.fromkeys(filter(None, names)))
