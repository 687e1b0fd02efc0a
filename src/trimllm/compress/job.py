"""What a compressor is given and what it gives back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class CompressSettings:
    """How to compress.

    Attributes:
        group_size: weights that share a scale in the four-bit formats.
        max_tokens: tokens of a calibration text; longer ones are cut.
        min_texts: calibration texts below which a compressor that needs them refuses to work.
        kept: share of the units' parameters that structured pruning keeps.
        seed: of what an engine draws at random.
        threads: of the engine.
        device: "cpu" or "cuda".
        python: interpreter of an engine that has an environment of its own.
    """

    group_size: int = 64
    max_tokens: int = 512
    min_texts: int = 8
    kept: float = 0.5
    seed: int = 0
    threads: int = 1
    device: str = "cpu"
    python: Path | None = None


@dataclass
class CompressJob:
    """A dense model in float32, plain or trimmed, and what to calibrate it with."""

    model: nn.Module
    tokenizer: Any
    texts: Sequence[str]
    engine: str
    settings: CompressSettings
    workspace: Path
    """An empty folder for what an engine writes in between."""


@dataclass
class Compressed:
    """Tensors of a checkpoint by name, surviving units only, and what changes in its config."""

    tensors: dict[str, Tensor]
    config: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    """What the record says besides."""


def linear_names(model: nn.Module) -> list[str]:
    """Names of the linear layers inside the decoder layers: all that compressors change."""
    from torch import nn

    from trimllm.checkpoint.stock import layers_prefix

    prefix = layers_prefix(model) + "."
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and name.startswith(prefix)
    ]


def outside_linears(model: nn.Module) -> list[str]:
    """Names of the linear layers outside of them (head, OPT's projections): never changed."""
    from torch import nn

    inside = set(linear_names(model))
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and name not in inside
    ]


def untied(model: nn.Module) -> dict[str, Tensor]:
    """The state of a model without tensors that are ties to others."""
    state = model.state_dict()
    if getattr(model.config, "tie_word_embeddings", False):
        for name in model._tied_weights_keys or {}:
            state.pop(name, None)
    return state
