"""Bytes and operations of a model, by which speed is predicted."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from trimllm.sublayers import units
from trimllm.sublayers.modeling_trimllm import decoder_of


def weight_bytes(model: nn.Module) -> dict[str, int]:
    """Bytes of the stored weights: `units`, input `embeddings`, and `head` (0 where it is tied).

    To be read before the first forward pass: some int4 kernels repack their weights there.
    """
    layers = decoder_of(model).layers
    embeddings, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    # A state may hold more than parameters and buffers: notes of a kernel.
    own = {name for name, _ in (*layers.named_parameters(), *layers.named_buffers())}
    return {
        "units": sum(_stored(value) for name, value in layers.state_dict().items() if name in own),
        "embeddings": _stored(embeddings),
        "head": 0 if head is embeddings else _stored(head),
    }


def is_packed(value: Any) -> bool:
    """Whether a weight is 2:4 sparse as a GPU's tensor cores take it."""
    return type(value.data) is not Tensor and hasattr(value, "packed")


def _stored(value: Any) -> int:
    if is_packed(value):
        return sum(part.nbytes for part in (value.packed, value.meta) if part is not None)
    return int(value.nbytes)


def kv_bytes_per_token(model: nn.Module) -> int:
    """Bytes that one token adds to the KV cache: 2 · attentions · KV heads · head width."""
    heads = model.config.num_attention_heads
    shared = getattr(model.config, "num_key_value_heads", None) or heads
    return 2 * _attention_width(model) * shared // heads * model.dtype.itemsize


def prefill_operations(model: nn.Module, prompt: int) -> int:
    """Multiplications and additions of the matrix products of a prompt, up to the first token.

    Each weight of the sublayers takes two a token, each weight of the head two in all, and the t-th
    token's attention 4 · heads · head width · t. A compressed weight counts like a dense one.
    """
    inside = sum(layer.in_features * layer.out_features for layer in linears(model))
    keys = prompt * (prompt + 1) // 2  # that all tokens together look at
    head = model.get_output_embeddings().weight.numel()
    return 2 * prompt * inside + 4 * _attention_width(model) * keys + 2 * head


def linears(model: nn.Module) -> list[Any]:
    """The sublayers' linear layers, compressed ones among them."""
    return [m for m in decoder_of(model).layers.modules() if hasattr(m, "in_features")]


def _attention_width(model: nn.Module) -> int:
    """Width of the queries of all attention sublayers together."""
    config, heads = model.config, model.config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    return sum(unit.kind == "attention" for unit in units(model)) * heads * width
