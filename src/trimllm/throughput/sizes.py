"""Bytes and operations of a model, by which speed is predicted."""

from __future__ import annotations

from typing import Any

from torch import nn

from trimllm.sublayers import original_units, units
from trimllm.sublayers.modeling_trimllm import decoder_of


def sizes(model: nn.Module, prompt: int) -> dict[str, Any]:
    """Sizes, to be read before the first forward pass, in which some int4 kernels repack weights.

    Args:
        prompt: tokens.

    Returns:
        `units_kept` and `units_total`; `bytes` of the stored weights: `units`, input `embeddings`
        and `head` (0 where it is tied); `kv_bytes_per_token` that a token adds to the cache;
        `prefill_operations`, multiplications and additions of the matrix products of a prompt.
    """
    config, kept, layers = model.config, units(model), decoder_of(model).layers
    embeddings, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    tensors = dict([*layers.named_parameters(), *layers.named_buffers()])
    stored = [tensors[name] for name in layers.state_dict() if name in tensors]
    heads = config.num_attention_heads
    kv_heads = getattr(config, "num_key_value_heads", None) or heads
    head_width = getattr(config, "head_dim", None) or config.hidden_size // heads
    channels = head_width * sum(unit.kind == "attention" for unit in kept)
    # Each weight of the sublayers takes two operations a token, each weight of the head two in all,
    # and the t-th token's attention 4 · t · channels a head. A compressed weight counts like a
    # dense one.
    inside = sum(layer.in_features * layer.out_features for layer in linears(model))
    attention = 4 * heads * channels * prompt * (prompt + 1) // 2
    return {
        "units_kept": len(kept),
        "units_total": original_units(model),
        "bytes": {
            "units": sum(map(_bytes, stored)),
            "embeddings": _bytes(embeddings),
            "head": 0 if head is embeddings else _bytes(head),
        },
        "kv_bytes_per_token": 2 * kv_heads * channels * model.dtype.itemsize,
        "prefill_operations": 2 * prompt * inside + attention + 2 * head.numel(),
    }


def linears(model: nn.Module) -> list[Any]:
    """The sublayers' linear layers, compressed ones among them."""
    return [m for m in decoder_of(model).layers.modules() if hasattr(m, "in_features")]


def _bytes(weight: Any) -> int:
    # Weights that are packed for sparse tensor cores consist of two tensors.
    parts = [getattr(weight, "packed", None), getattr(weight, "meta", None)]
    return sum(part.nbytes for part in parts if part is not None) or int(weight.nbytes)
