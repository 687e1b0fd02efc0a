"""Blocks of a table: our models or machines, then the paper's whose numbers stand alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from trimllm_paper import published
from trimllm_paper.context import Model
from trimllm_paper.frames import where
from trimllm_paper.specification import Table

RANDOM = "random-"
"""Start of a shape's name in paths."""


@dataclass(frozen=True)
class Block:
    """A model, on a machine where it was timed."""

    key: str
    label: str
    published_as: str | None  # the paper's block beside it, in words; its key is `compared`
    is_paper: bool  # whether it is the paper's model (and machine)
    compared: str
    name: str = ""  # of the model in paths; "" for the paper's numbers alone
    model: Model | None = None
    hardware: str | None = None
    own_speed: bool = False  # whether it is the paper's shape on the paper's GPU


def blocks_of(spec: Table, timings: pd.DataFrame) -> list[Block]:
    """All blocks in order."""
    ours = [*(_models(spec) if spec.blocks == "model" else _machines(spec, timings))]
    shown = {one.published_as for one in ours if one.is_paper or spec.blocks == "model"}
    compared = published.LABELS[spec.compared]
    labels = published.LABELS | {gpu: f"{compared}, {gpu}" for gpu in spec.gpus.values()}
    paper = {key: labels[key] for key in published.table(spec.key).blocks if key in labels}
    alone = {key: label for key, label in paper.items() if label not in shown}
    return ours + [Block(key, label, label, True, key) for key, label in alone.items()]


def own_models(spec: Table) -> list[str]:
    """The paper's models in a table."""
    blocks = published.table(spec.key).blocks
    return [key for key in blocks if key in published.LABELS] or [spec.compared]


def _models(spec: Table) -> Iterator[Block]:
    """A block for each model; a stand-in is set beside the model that the table names."""
    for model in spec.models:
        own = model.published in own_models(spec)
        compared = str(model.published) if own else spec.compared
        named = published.LABELS[compared] if published.table(spec.key).blocks else None
        yield Block(model.name, model.label, named, own, compared, model.name, model)


def _machines(spec: Table, timings: pd.DataFrame) -> Iterator[Block]:
    """A block for each machine and model; of `both` the configured models come first, then those of
    them that were not timed."""
    models = {model.name: model for model in spec.models}
    timed = {*zip(timings.hardware, timings.model, strict=True)}
    places: list[tuple[str | None, str]] = sorted(timed)
    if spec.blocks == "both":
        own = [place for name in models for place in places if place[1] == name]
        untimed = [(None, name) for name in models if name not in {*timings.model}]
        places = [*own, *untimed, *(place for place in places if place[1] not in models)]
    for hardware, name in places:
        model, shape = models.get(name), name.removeprefix(RANDOM)
        is_shape = spec.compared in (model and model.published, shape)
        own_speed = is_shape and hardware in spec.gpus
        gpu = spec.gpus[str(hardware)] if own_speed else next(iter(spec.gpus.values()), "")
        label = model.label if model else name
        if name != shape:
            label = f"{published.LABELS.get(shape, shape)} shape, random weights"
        contents = where(timings, hardware=hardware, model=name).content
        dtypes = [content.get("dtype") for content in contents[:1]]
        yield Block(
            f"{hardware or '-'}/{name}",
            ", ".join(filter(None, [label, hardware or "not timed", *dtypes])),
            f"{published.LABELS[spec.compared]}, {gpu}" if gpu else None,
            own_speed or (is_shape and hardware is None),
            *(gpu, name, model, hardware, own_speed),
        )
