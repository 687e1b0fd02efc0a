"""Units whose weights are not always there: streamed from disk or host memory when they run.

Whoever runs a unit does it inside `present`. For an ordinary model that does nothing; a streamed
model (`trimllm.checkpoint.stream`) gives each of its layers a source, which brings the weights.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from torch import nn


def set_source(layer: nn.Module, source: Any) -> None:
    """Say what brings the weights of a decoder layer's units: its `present` is called as below."""
    layer.weight_source = source


def source_of(layer: nn.Module) -> Any:
    """What brings the weights of a decoder layer's units; None: they are there."""
    return getattr(layer, "weight_source", None)


def present(layer: nn.Module, kind: str) -> AbstractContextManager[None]:
    """A context in which the weights of the unit of `kind` in `layer` are on its device."""
    source = source_of(layer)
    return nullcontext() if source is None else source.present(layer, kind)
