"""What the library has to know of a model family: where its units are and how they compute.

An adapter is stateless, one file a family in `families`. A family of one's own needs an adapter
and its trimmed classes (those of `modeling_trimllm` are the pattern) in one module of one's own,
which calls `trimllm.sublayers.register`; `tests/trimllm/units` holds the contract of all adapters.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

from trimllm.base.errors import UserError
from trimllm.base.rooms import named

# (query, key, value, scaling, window, output): attention inside the rows, into `output`, which may
# be the query; all (streams, tokens, heads, head width)
Attend = Callable[[Tensor, Tensor, Tensor, float, int | None, Tensor], None]

# Tokens that go through a unit's matrix products at once on a CPU: what they need stays in the
# cache, which makes everything but the products nearly free.
CPU_BLOCK = 1024


class Workspace:
    """Buffers that units share, so that none is allocated twice."""

    def __init__(self) -> None:
        self.buffers: dict[str, Tensor] = {}

    def get(self, name: str, like: Tensor, *shape: int, dtype: torch.dtype | None = None) -> Tensor:
        """An uninitialized tensor of `shape`, with the device of `like` and its type or `dtype`."""
        size, dtype = math.prod(shape), dtype or like.dtype
        buffer = self.buffers.get(name)
        if buffer is None or buffer.numel() < size or buffer.dtype != dtype:
            buffer = self.buffers[name] = like.new_empty(size, dtype=dtype)
        return buffer[:size].view(shape)


@dataclass
class Rows:
    """What units need to know of the rows they run on."""

    positions: Tensor  # (tokens,) position of every token in its own sequence
    attend: Attend  # attention between the tokens of one row
    work: Workspace = field(default_factory=Workspace)
    # Cosines and sines (tokens, 1, head width), where the family has them.
    rotary: tuple[Tensor, Tensor] | None = None


class Adapter:
    """The contract. `layer` is a decoder layer, `stream` the residual stream of any number of
    streams over the same tokens, (streams, tokens, width), contiguous, changed in place.

    Args:
        trimmed: class of the family's trimmed models, as in `modeling_trimllm`. The file that it
            stands in is written beside the weights of every trimmed checkpoint. Its `base_class`,
            where it names one, is what `AutoModel` and vLLM load.

    Attributes:
        outputs: by kind, the linear layer that writes the unit's result; zeroing it drops the unit.
    """

    outputs: dict[str, str]

    def __init__(self, trimmed: type[Any]) -> None:
        self.trimmed = trimmed

    @property
    def parts(self) -> dict[str, tuple[str, ...]]:
        """By kind, the submodules of a decoder layer that make up the unit."""
        return self.trimmed.layer_class.parts

    def check(self, model: nn.Module) -> None:
        """Raise `UserError` for a variant of the family whose sublayers are no units."""

    def prepare(self, model: nn.Module, rows: Rows, stream: Tensor) -> None:
        """Compute what all units share."""

    def embed(self, model: nn.Module, ids: Tensor, positions: Tensor) -> Tensor:
        """(1, tokens, width) residual stream before the first unit, from ids (tokens,)."""
        raise NotImplementedError

    def attention_(self, layer: nn.Module, stream: Tensor, rows: Rows) -> None:
        """Add the attention unit's result to the stream."""
        raise NotImplementedError

    def mlp_(self, layer: nn.Module, stream: Tensor, rows: Rows) -> None:
        """Add the MLP unit's result to the stream."""
        raise NotImplementedError

    def finish(self, model: nn.Module, stream: Tensor) -> Tensor:
        """Final norm: from the residual stream to the head's input."""
        raise NotImplementedError

    def output_projection(self, layer: nn.Module, kind: str) -> nn.Linear:
        """The layer that `outputs` names, in a decoder layer."""
        return layer.get_submodule(self.outputs[kind])

    def apply_(self, layer: nn.Module, kind: str, stream: Tensor, rows: Rows) -> None:
        """Add the result of the unit of `kind` in `layer` to the stream."""
        (self.attention_ if kind == "attention" else self.mlp_)(layer, stream, rows)


def blocks_of(tensor: Tensor) -> tuple[Tensor, ...]:
    """Views of a (tokens, ...) tensor that fit a cache, of nearly one size; on a GPU the whole."""
    parts = -(-len(tensor) // CPU_BLOCK) if tensor.device.type == "cpu" else 1
    even = -(-len(tensor) // parts)
    # What the kernels of matrix products take at a time.
    return tensor.split(even + -even % 32)


def linear(module: nn.Module, x: Tensor, out: Tensor) -> Tensor:
    """module(x) for x (tokens, in), into `out` (tokens, out) where the module is a plain Linear."""
    if type(module) is not nn.Linear:
        return out.copy_(module(x))
    if module.bias is None:
        return torch.mm(x, module.weight.t(), out=out)
    return torch.addmm(module.bias, x, module.weight.t(), out=out)


def add_linear_(stream: Tensor, module: nn.Module, x: Tensor) -> None:
    """stream += module(x), both (tokens, .), in one pass where the module is a plain Linear."""
    if type(module) is not nn.Linear:
        stream += module(x)
        return
    stream.addmm_(x, module.weight.t())
    if module.bias is not None:
        stream += module.bias


_ADAPTERS: dict[str, Adapter] = {}


def register(adapter: Adapter) -> None:
    """Let a family be trimmed; transformers' auto classes learn of its trimmed models."""
    config_class = adapter.trimmed.config_class
    AutoConfig.register(config_class.model_type, config_class, exist_ok=True)
    AutoModelForCausalLM.register(config_class, adapter.trimmed, exist_ok=True)
    if adapter.trimmed.base_class is not None:
        AutoModel.register(config_class, adapter.trimmed.base_class, exist_ok=True)
    _ADAPTERS[family_of(config_class.model_type)] = adapter


def auto_map(trimmed: type[Any]) -> dict[str, str]:
    """Which class of the modeling file each of transformers' auto classes loads."""
    named = {
        "AutoConfig": trimmed.config_class,
        "AutoModel": trimmed.base_class,
        "AutoModelForCausalLM": trimmed,
    }
    file = trimmed.__module__.rpartition(".")[2]
    return {auto: f"{file}.{cls.__name__}" for auto, cls in named.items() if cls is not None}


def register_named(name: str) -> str:
    """The family that a name stands for: `package.module:adapter` is imported and registered.

    Raises:
        UserError: there is no such adapter.
    """
    if ":" not in name:
        return name
    adapter = named(name)
    if not isinstance(adapter, Adapter):
        raise UserError(f"family {name!r} names no adapter (trimllm.sublayers.Adapter)")
    register(adapter)
    return family_of(adapter.trimmed.config_class.model_type)


def family_of(model_type: str) -> str:
    """The stock model type behind a possibly trimmed one: "trimllm_llama" is "llama"."""
    return model_type.removeprefix("trimllm_")


def supported_families() -> tuple[str, ...]:
    """Model types that have an adapter."""
    return tuple(_ADAPTERS)


def adapter_of(model: nn.Module) -> Adapter:
    """The adapter of a model's family; `UserError` when there is none."""
    family = family_of(model.config.model_type)
    if family not in _ADAPTERS:
        raise UserError(
            f"model family {family!r} has no adapter (there are: {', '.join(_ADAPTERS)}); "
            "register one with trimllm.sublayers.register"
        )
    _ADAPTERS[family].check(model)
    return _ADAPTERS[family]


def device_of(model: nn.Module) -> torch.device:
    """Device of the model's embeddings, where ids have to go."""
    return model.get_input_embeddings().weight.device
