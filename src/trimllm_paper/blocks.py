"""Blocks of a table, their lines and cells.

Our models or machines come first, then the paper's that stand beside none of ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from trimllm_paper import published
from trimllm_paper.context import Model
from trimllm_paper.derive import Accuracy
from trimllm_paper.frames import where
from trimllm_paper.published import Value
from trimllm_paper.specification import Row, Table
from trimllm_paper.verdict import Verdict

RANDOM = "random-"
"""Start of a shape's name in paths."""


@dataclass(frozen=True)
class Block:
    """A model, on a machine where it was timed; `paper` is the paper's block beside it."""

    key: str
    label: str
    paper: str
    published_as: str | None  # `paper` in words; None: the paper has no such table
    name: str = ""  # of the model in paths; "" for the paper's numbers alone
    model: Model | None = None
    hardware: str | None = None
    own_model: bool = False  # whether it is the paper's model
    own_speed: bool = False  # whether it is the paper's shape on the paper's GPU

    @property
    def is_paper(self) -> bool:
        """Whether its numbers can reproduce the paper's."""
        return not self.name or (self.own_speed if self.hardware else self.own_model)


NO_VERDICT: Verdict = (None, "")


@dataclass(frozen=True)
class Cell:
    """A measured cell; `low` and `high` are the 95% interval, of sizes the smallest and largest."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    deviation: float | None = None
    n: int | None = None
    judged: Verdict = NO_VERDICT
    sources: Sequence[str] = ()
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Line:
    """A row of a block: its measurement of throughput, and by column its accuracy (NONE: its chain
    has no checkpoint that keeps enough) and the paper's number."""

    block: Block
    row: Row
    timing: Any
    accuracies: dict[str, Accuracy | str | None]
    printed: dict[str, Value]


def blocks_of(spec: Table, timings: pd.DataFrame) -> list[Block]:
    """All blocks in order."""
    compared, paper = published.LABELS[spec.compared], published.table(spec.key).blocks
    labels = published.LABELS | {gpu: f"{compared}, {gpu}" for gpu in spec.gpus.values()}
    ours = [*(_models(spec) if spec.blocks == "model" else _machines(spec, timings, labels))]
    beside = {one.paper for one in ours}
    alone = [key for key in paper if key in labels and key not in beside]
    return ours + [Block(key, labels[key], key, labels[key]) for key in alone]


def _models(spec: Table) -> Iterator[Block]:
    """A block for each model; a stand-in is set beside the model that the table names."""
    paper = published.table(spec.key).blocks
    known = [key for key in paper if key in published.LABELS] or [spec.compared]
    for model in spec.models:
        own = model.published in known
        compared = str(model.published) if own else spec.compared
        label = published.LABELS[compared] if paper else None
        yield Block(model.name, model.label, compared, label, model.name, model, own_model=own)


def _machines(spec: Table, timings: pd.DataFrame, labels: dict[str, str]) -> Iterator[Block]:
    """A block for each machine and model: configured models first, also those that have accuracies
    and were not timed."""
    models = {model.name: model for model in spec.models}
    timed: list[tuple[str | None, str]] = sorted(
        {*zip(timings.hardware, timings.model, strict=True)}
    )
    places = [place for name in models for place in timed if place[1] == name]
    if any(column.shows == "accuracy" for column in spec.columns):
        places += [(None, name) for name in models if name not in {*timings.model}]
    for hardware, name in [*places, *(place for place in timed if place[1] not in models)]:
        model, shape = models.get(name), name.removeprefix(RANDOM)
        own_model = model is not None and model.published == spec.compared
        own_speed = (own_model or shape == spec.compared) and hardware in spec.gpus
        gpu = spec.gpus[str(hardware)] if own_speed else next(iter(spec.gpus.values()), "")
        label = model.label if model else name
        if name != shape:
            label = f"{published.LABELS.get(shape, shape)} shape, random weights"
        contents = where(timings, hardware=hardware, model=name).content
        dtypes = [content.get("dtype") for content in contents[:1]]
        yield Block(
            f"{hardware or '-'}/{name}",
            ", ".join(filter(None, [label, hardware or "not timed", *dtypes])),
            *(gpu, labels.get(gpu), name, model, hardware, own_model, own_speed),
        )
