"""The fastest stock kernels for a single row of 16-bit floats on a CPU, for every model alike.

What torch takes by itself is made for many rows. Measured on one core of an AMD EPYC with AVX512
bfloat16, torch 2.13, for one token: a 2048 x 2048 product takes 470 µs through oneDNN and 290 µs
through torch's own kernel; attention of 32 heads over 500 keys takes 1260 µs through the fused
kernel and 140 µs as two products through oneDNN. Left alone, attention would take a third of a
token's time and hide what is measured here, the reading of the weights.

Which linear kernel is faster depends on processor and shape. One process of a session times both
(`linear_kernel_seconds`), while nothing else runs, and all of them use the one that it found.
"""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from trimllm.units.modeling_trimllm import decoder_of

ATTENTION = "trimllm_one_row"
"""Name of the attention in transformers' registry."""
STOCK, NATIVE = "onednn", "native"
"""The linear kernels: what torch takes by itself, and torch's own products."""
ROUNDS = 15
MARGIN = 1.1
"""The stock kernel stays unless the other is so many times as fast: no choice by chance."""


def use_one_row_kernels(model: nn.Module) -> None:
    """Give a model the fast attention, and a head that takes one row of many as it is.

    Changes nothing on a GPU, and of float32 the head alone: the other stock kernels are fast there.
    """
    head = model.get_output_embeddings()
    if head.weight.device.type != "cpu":
        return
    head.register_forward_pre_hook(_own_row)
    if head.weight.dtype == torch.float32:
        return
    AttentionInterface.register(ATTENTION, attention)
    AttentionMaskInterface.register(ATTENTION, sdpa_mask)
    model.set_attn_implementation(ATTENTION)


def _own_row(head: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor:
    # The last position is a slice of (1, tokens, width), whose strides make torch copy the head's
    # whole weight before it multiplies: 0.3 s of the 1.8 s of a prompt at the 1B shape.
    return inputs[0].clone(memory_format=torch.contiguous_format)


def linear_kernel_seconds(model: nn.Module) -> dict[str, float]:
    """Seconds of all dense products of one token, units and head, by each linear kernel.

    The median of rounds in which both kernels take turns, after one that does not count. Empty
    where there is nothing to choose: on a GPU and for float32.
    """
    head = model.get_output_embeddings().weight
    if head.device.type != "cpu" or head.dtype == torch.float32:
        return {}
    layers = decoder_of(model).layers.modules()
    weights = [layer.weight for layer in layers if type(layer) is nn.Linear] + [head]
    rows = {w.shape[1]: torch.ones(1, w.shape[1], dtype=w.dtype) for w in weights}
    found: dict[str, list[float]] = {STOCK: [], NATIVE: []}
    with torch.inference_mode():
        for _ in range(1 + ROUNDS):
            for name, seconds in found.items():
                with linear_kernel(name):
                    start = time.perf_counter()
                    for weight in weights:
                        nn.functional.linear(rows[weight.shape[1]], weight)
                    seconds.append(time.perf_counter() - start)
    return {name: statistics.median(seconds[1:]) for name, seconds in found.items()}


def faster_kernel(seconds: Mapping[str, float]) -> str:
    """The kernel to use after `linear_kernel_seconds`: the stock one but for a clear reason."""
    clear = seconds and seconds[STOCK] > MARGIN * seconds[NATIVE]
    return NATIVE if clear else STOCK


@contextlib.contextmanager
def linear_kernel(name: str) -> Iterator[None]:
    """Run a block with oneDNN's CPU products ("onednn") or with torch's own ("native")."""
    before = torch._C._get_mkldnn_enabled()
    torch._C._set_mkldnn_enabled(name == STOCK)
    try:
        yield
    finally:
        torch._C._set_mkldnn_enabled(before)


def attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attention as transformers calls it; one query goes as two products, the rest to torch.

    Args:
        query: (rows, heads, queries, head width).
        key, value: (rows, KV heads, keys, head width); each serves heads / KV heads heads.

    Returns:
        (rows, queries, heads, head width)
    """
    if query.shape[2] != 1 or attention_mask is not None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **kwargs
        )
    rows, heads, _, width = query.shape
    grouped = query.view(rows, key.shape[1], -1, width)
    with linear_kernel(STOCK):
        scores = torch.matmul(grouped, key.transpose(2, 3)).float()
        scores = scores.mul_(width**-0.5 if scaling is None else scaling)
        mixed = torch.matmul(scores.softmax(-1).to(value.dtype), value)
    return mixed.reshape(rows, 1, heads, width), None
