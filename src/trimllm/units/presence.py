"""Units whose weights are not always there: streamed from disk or host memory when they run.

Whoever runs a unit does it inside `present`. For an ordinary model that does nothing; a streamed
model (`trimllm.checkpoint.stream`) gives each of its layers a source, which brings the weights.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from torch import nn


class WeightSource(Protocol):
    """What brings the weights of units."""

    def present(self, layer: nn.Module, kind: str) -> AbstractContextManager[None]:
        """A context in which the weights of the unit of `kind` in `layer` are on its device."""


def set_source(layer: nn.Module, source: WeightSource | None) -> None:
    """Say where the weights of a decoder layer's units come from; None: they are there."""
    layer.weight_source = source


def source_of(layer: nn.Module) -> WeightSource | None:
    """Where the weights of a decoder layer's units come from; None: they are there."""
    return getattr(layer, "weight_source", None)


def present(layer: nn.Module, kind: str) -> AbstractContextManager[None]:
    """A context in which the weights of the unit of `kind` in `layer` are on its device."""
    source = source_of(layer)
    return nullcontext() if source is None else source.present(layer, kind)
