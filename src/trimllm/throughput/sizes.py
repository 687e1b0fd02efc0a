"""Bytes and operations of a model, by which speed is predicted."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from trimllm.sublayers import original_units, units
from trimllm.sublayers.modeling_trimllm import decoder_of


def sizes(model: nn.Module, prompt: int) -> dict[str, Any]:
    """What speed is predicted by; to be read before the first forward pass, in which some int4
    kernels repack their weights.

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
    stored = (tensors[name] for name in layers.state_dict() if name in tensors)  # no kernels' notes
    # Width of the queries of all attention sublayers together.
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    width *= config.num_attention_heads * sum(unit.kind == "attention" for unit in kept)
    kv_heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    # Each weight of the sublayers takes two operations a token, each weight of the head two in all,
    # and the t-th token's attention 4 · width · t. A compressed weight counts like a dense one.
    inside = sum(layer.in_features * layer.out_features for layer in linears(model))
    looked_at = prompt * (prompt + 1) // 2
    return {
        "units_kept": len(kept),
        "units_total": original_units(model),
        "bytes": {
            "units": sum(map(_bytes, stored)),
            "embeddings": _bytes(embeddings),
            "head": 0 if head is embeddings else _bytes(head),
        },
        "kv_bytes_per_token": 2
        * width
        * kv_heads
        // config.num_attention_heads
        * model.dtype.itemsize,
        "prefill_operations": 2 * prompt * inside + 4 * width * looked_at + 2 * head.numel(),
    }


def linears(model: nn.Module) -> list[Any]:
    """The sublayers' linear layers, compressed ones among them."""
    return [m for m in decoder_of(model).layers.modules() if hasattr(m, "in_features")]


def is_packed(value: Any) -> bool:
    """Whether a weight is 2:4 sparse as a GPU's tensor cores take it."""
    return type(value.data) is not Tensor and hasattr(value, "packed")


def _bytes(value: Any) -> int:
    if is_packed(value):
        return sum(part.nbytes for part in (value.packed, value.meta) if part is not None)
    return int(value.nbytes)
