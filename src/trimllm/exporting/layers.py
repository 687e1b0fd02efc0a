"""A checkpoint as llama.cpp's architecture `deci` sees it: which tensors, in which blocks.

`deci` (Llama-Nemotron) knows blocks without attention: no head, no tensor. What else it does not
know was found by trial; what stands in for it computes nothing:
- a block whose `feed_forward_length` is 0 forgets its attention's result, too: a block without MLP
  gets one of 32 channels, all zero;
- widths of heads follow from block 0: without attention it gets one head, all zero;
- it reads no sliding window: what a window does not reach beyond is the longest context.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from trimllm.base.errors import UserError
from trimllm.base.names import GGUF_FAMILIES
from trimllm.checkpoint.stream import WeightFile
from trimllm.sublayers.adapters import family_of
from trimllm.sublayers.modeling_trimllm import packed_blocks

ZERO_CHANNELS = 32
"""Width of the MLP that stands in for a missing one: what a block of quantized numbers takes."""
ROPE_TYPES = ("default", "linear", "llama3")
"""Scalings of positions that are one factor for each frequency."""

# By kind of unit: name in GGUF -> name in a decoder layer. The first one is the norm.
PARTS = {
    "attention": {
        "attn_norm": "input_layernorm",
        "attn_q": "self_attn.q_proj",
        "attn_k": "self_attn.k_proj",
        "attn_v": "self_attn.v_proj",
        "attn_output": "self_attn.o_proj",
    },
    "mlp": {
        "ffn_norm": "post_attention_layernorm",
        "ffn_gate": "mlp.gate_proj",
        "ffn_up": "mlp.up_proj",
        "ffn_down": "mlp.down_proj",
    },
}
OUTSIDE = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}


@dataclass(frozen=True)
class Entry:
    """One tensor of a GGUF file.

    Attributes:
        name: in the file.
        shape: (rows, columns), or (width,) of a norm or bias.
        source: its name in the checkpoint; None for what is zero.
        heads: of a query or key, whose rows have another order in llama.cpp.
        value: what is in no checkpoint and not zero.
    """

    name: str
    shape: tuple[int, ...]
    source: str | None = None
    heads: int | None = None
    value: Tensor | None = None

    def read(self, weights: WeightFile) -> Tensor:
        """Its content, float32."""
        if self.value is not None:
            return self.value
        if self.source is None:
            return torch.zeros(self.shape)
        tensor = weights.read(self.source, torch.float32)
        return tensor if self.heads is None else interleaved(tensor, self.heads)


def interleaved(tensor: Tensor, heads: int) -> Tensor:
    """Rows of a query or key (heads · width, ...) in the order of llama.cpp.

    transformers turns value i of a head with value i + width / 2, llama.cpp neighbours.
    """
    halves = tensor.view(heads, 2, -1, *tensor.shape[1:])
    return halves.transpose(1, 2).reshape(tensor.shape)


def unlaced(tensor: Tensor, heads: int) -> Tensor:
    """The rows of an `interleaved` tensor in their old order."""
    pairs = tensor.view(heads, -1, 2, *tensor.shape[1:])
    return pairs.transpose(1, 2).reshape(tensor.shape)


class Layers:
    """What a checkpoint holds, in the terms of `deci`.

    Args:
        config: of the checkpoint, plain or trimmed.
        path: its directory.

    Attributes:
        heads, kv_heads, channels: a number for each block.
        context: longest context, tokens.

    Raises:
        UserError: llama.cpp cannot compute what this model does.
    """

    def __init__(self, config: Any, path: str | Path) -> None:
        self.config, self.path, self.weights = config, Path(path), WeightFile(path)
        self._check()
        count, kept = config.num_hidden_layers, getattr(config, "units", None)
        whole = [{"attention": block, "mlp": block} for block in range(count)]
        self.blocks = whole if kept is None else packed_blocks(kept)
        self.head_width = getattr(config, "head_dim", None) or (
            config.hidden_size // config.num_attention_heads
        )
        self.heads = [config.num_attention_heads * ("attention" in one) for one in self.blocks]
        self.kv_heads = [config.num_key_value_heads * ("attention" in one) for one in self.blocks]
        wide, none = config.intermediate_size, ZERO_CHANNELS
        self.channels = [wide if "mlp" in one else none for one in self.blocks]
        if not self.heads[0]:
            self.heads[0] = self.kv_heads[0] = 1
        window = self._window()
        longest = config.max_position_embeddings
        self.context = longest if window is None else min(longest, window)

    def _check(self) -> None:
        config, where = self.config, f"{self.path}: llama.cpp"
        family = family_of(config.model_type)
        if family not in GGUF_FAMILIES:
            raise UserError(
                f"{where} cannot run a trimmed {family} (it can: {', '.join(GGUF_FAMILIES)}); "
                "export it as padded"
            )
        if getattr(config, "quantization_config", None) is not None:
            raise UserError(
                f"{where} does not read this compressed checkpoint; export the one it was made "
                "from, as gguf_q8_0 or gguf_q4_0"
            )
        if config.hidden_act != "silu":
            raise UserError(f"{where} computes silu, this model {config.hidden_act}")
        kind = config.rope_parameters["rope_type"]
        if kind not in ROPE_TYPES:
            known = ", ".join(ROPE_TYPES)
            raise UserError(f"{where}: positions scaled by {kind!r} are not exported ({known} are)")

    def _window(self) -> int | None:
        used = getattr(self.config, "use_sliding_window", True)
        return getattr(self.config, "sliding_window", None) if used else None

    def entries(self) -> list[Entry]:
        """Every tensor of the file, in the order of the data."""
        found = [*self._real("token_embd", OUTSIDE["token_embd"])]
        found += [*self._rope_factors()]
        for number, block in enumerate(self.blocks):
            for kind in PARTS:
                real = kind in block
                found += self._unit(number, kind) if real else self._zero_unit(number, kind)
        found += self._real("output_norm", OUTSIDE["output_norm"])
        if not self.config.tie_word_embeddings:
            found += self._real("output", OUTSIDE["output"])
        return found

    def _real(self, name: str, source: str, heads: int | None = None) -> Iterator[Entry]:
        for part in ("weight", "bias"):
            if f"{source}.{part}" in self.weights.file_of:
                file = self.weights.file_of[f"{source}.{part}"]
                shape = tuple(file.get_slice(f"{source}.{part}").get_shape())
                yield Entry(f"{name}.{part}", shape, f"{source}.{part}", heads)

    def _unit(self, number: int, kind: str) -> Iterator[Entry]:
        turned = {"attn_q": self.heads[number], "attn_k": self.kv_heads[number]}
        for name, part in PARTS[kind].items():
            source = f"model.layers.{number}.{part}"
            yield from self._real(f"blk.{number}.{name}", source, turned.get(name))

    def _zero_unit(self, number: int, kind: str) -> Iterator[Entry]:
        """What stands in for a missing unit, where something must."""
        width = self.config.hidden_size
        inner = ZERO_CHANNELS if kind == "mlp" else self.head_width * self.heads[number]
        if not inner:
            return
        norm, *inward, outward = PARTS[kind]
        yield Entry(f"blk.{number}.{norm}.weight", (width,))
        for name in inward:
            yield Entry(f"blk.{number}.{name}.weight", (inner, width))
        yield Entry(f"blk.{number}.{outward}.weight", (width, inner))

    def _rope_factors(self) -> Iterator[Entry]:
        """What frequencies are divided by, where positions are scaled."""
        kind = self.config.rope_parameters["rope_type"]
        if kind == "default":
            return
        scaled, _ = ROPE_INIT_FUNCTIONS[kind](self.config, "cpu")
        powers = torch.arange(0, self.head_width, 2, dtype=torch.float32) / self.head_width
        plain = 1.0 / (self.config.rope_parameters["rope_theta"] ** powers)
        factors = plain / scaled.float()
        yield Entry("rope_freqs.weight", tuple(factors.shape), value=factors)
