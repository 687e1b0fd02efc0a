"""Words of a table: labels of columns, the lines above it (stand-ins) and below (documents, seeds).

What concerns single cells (commits, losses, seeds) stands in the CSV.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pandas as pd

from trimllm_paper import published
from trimllm_paper.context import BY_LORA, FULL, Context
from trimllm_paper.frames import Frame, tier_note
from trimllm_paper.render import DAGGER
from trimllm_paper.specification import Column, Table


def labelled(column: Column, frame: Frame, context: Context) -> Column:
    """A column with the label of what was measured."""
    label = context.named(column.label)
    if column.shows == "accuracy" and _evaluations(column, frame).token_f1.notna().any():
        label += " (F1)"
    return replace(column, label=label + (DAGGER if stand_in(column, frame) else ""))


def _evaluations(column: Column, frame: Frame) -> pd.DataFrame:
    return frame.evaluations[frame.evaluations.task.isin(column.tasks)]


def stand_in(column: Column, frame: Frame) -> str | None:
    """What the documents of a column of accuracy are, if not the paper's: by their records, or its
    domain."""
    if column.shows != "accuracy" or column.domain is None:
        return None
    recorded = dict.fromkeys(_evaluations(column, frame).stand_in)
    return "; ".join(filter(None, recorded)) or column.domain.stand_in


def header(spec: Table, frame: Frame, context: Context, columns: Sequence[Column]) -> Iterator[str]:
    """What the measured numbers stand on."""
    yield from map(context.named, spec.header)
    timings = spec.timings(frame)
    if spec.blocks != "model":
        protocols = [content["protocol"] for content in timings.content]
        keys = ("prompt", "generate", "repeats")
        for prompt, generate, repeats in sorted({tuple(one[k] for k in keys) for one in protocols}):
            yield (
                f"Speed: {prompt} prompt and {generate} generated tokens; median of {repeats} "
                "rounds in fresh processes, each in turn with the full model"
            )
        domains = {content.get("domain") for content in timings[timings.base == "trim"].content}
        if named := [one.label for one in context.domains if one.name in domains]:
            yield f"Speeds and sublayer bytes are those of the checkpoint of {', '.join(named)}"
    if spec.blocks == "engine" and len(timings):
        engines = dict.fromkeys(timings.format + ": " + timings.how)
        yield f"Engines: {'; '.join(engines)}"
    if context.lora and spec.blocks != "machine":
        yield (
            f"Stand-in for full fine-tuning: {BY_LORA}, adapters beside frozen weights, merged at "
            f"the end. No verdict is one on {FULL}, which the paper's lines show"
        )
    documents = [(column.label.removesuffix(DAGGER), stand_in(column, frame)) for column in columns]
    if stand_ins := [f"{label}: {text}" for label, text in documents if text]:
        yield f"{DAGGER} Stand-in data. {'. '.join(stand_ins)}"


def notes(
    spec: Table, frame: Frame, context: Context, cells: pd.DataFrame, columns: Sequence[Column]
) -> Iterator[str]:
    """Those of the table, contradictions of the paper, test documents, source of the numbers."""
    yield from map(context.named, spec.notes)
    if known := published.contradictions(table=spec.key):
        yield f"In the paper itself: {' '.join(one['text'] for one in known)}"
    documents = (_documents(column, cells) for column in columns if column.shows == "accuracy")
    if tested := ", ".join(filter(None, documents)):
        yield f"Test documents: {tested}. {_seeds(frame.evaluations)}"
    shown = {column.shows for column in columns}
    tables = [frame.evaluations] if "accuracy" in shown else []
    tables += [spec.timings(frame)] if spec.blocks != "model" else []
    tables += [frame.trainings, frame.epochs] if "time" in shown else []
    sources = [source for one in tables for source in one.source]
    hardware = [(one or {}).get("hardware") or {} for table in tables for one in table.provenance]
    machines = dict.fromkeys(str(one.get("gpu") or one.get("cpu") or "") for one in hardware)
    on = ", ".join(filter(None, machines))
    yield f"{tier_note(sources)}{f'. Hardware: {on}' if on else ''}. Commits are in the CSV."


def _seeds(evaluations: pd.DataFrame) -> str:
    """What intervals cover."""
    seeds = evaluations.groupby(["model", "domain", "task", "recipe"]).seed.nunique()
    if seeds.max() == 1:
        return "One seed: intervals cover the test documents alone (Wilson)."
    some = f"; some cells have {seeds.min()}" if seeds.min() < seeds.max() else ""
    return (
        f"Means of {seeds.max()} seeds{some} (CSV column `seeds`). Intervals cover documents "
        "and seeds, whose variance is pooled over the cells of a recipe."
    )


def _documents(column: Column, cells: pd.DataFrame) -> str:
    """Test documents and chance level of a column of accuracy; "" if nothing was measured."""
    measured = cells[(cells.column == column.key) & cells.n.notna()]
    if measured.empty:
        return ""
    details = measured.details.iloc[0]
    words = "" if details["chance"] is None else f" (chance {details['chance']:.1f}%)"
    if "token_f1" in details:
        words = " (free answers, F1 of words)"
    return f"{column.label.removesuffix(DAGGER)} {measured.n.max()}{words}"
