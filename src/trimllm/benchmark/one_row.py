"""The fastest stock kernels for a single row of 16-bit floats on a CPU, for every model alike.

What torch takes by itself is made for many rows. Measured on one core of an AMD EPYC with AVX512
bfloat16, torch 2.13, for one token: a 2048 x 2048 product takes 470 µs through oneDNN and 290 µs
through torch's own kernel; attention of 32 heads over 500 keys takes 1260 µs through the fused
kernel and 140 µs as two products through oneDNN. Left alone, attention would take a third of a
token's time and hide what is measured here, the reading of the weights.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

ATTENTION = "trimllm_one_row"
"""Name of the attention in transformers' registry."""
ROWS = 1 << 14
TRIES = 9


def use_one_row_kernels(model: nn.Module) -> str:
    """Give a model the fast attention; returns the faster linear kernel for `linear_kernel`.

    Changes nothing on a GPU and for float32, where the stock kernels are fast.
    """
    weight = model.get_output_embeddings().weight
    if weight.device.type != "cpu" or weight.dtype == torch.float32:
        return "onednn"
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(ATTENTION, attention)
    AttentionMaskInterface.register(ATTENTION, sdpa_mask)
    model.set_attn_implementation(ATTENTION)
    return faster_linear_kernel(weight)


def faster_linear_kernel(weight: Tensor) -> str:
    """Which of torch's CPU products is faster for one row: "onednn" or "native" (torch's own).

    The best of several tries decides, which other work on the machine disturbs least.
    """
    weight = weight[:ROWS]
    x = torch.ones(1, weight.shape[1], dtype=weight.dtype)
    best = {}
    with torch.inference_mode():
        for name in ("onednn", "native"):
            with linear_kernel(name):
                times = []
                for _ in range(TRIES):
                    start = time.perf_counter()
                    nn.functional.linear(x, weight)
                    times.append(time.perf_counter() - start)
            best[name] = min(times)
    return min(best, key=best.__getitem__)


@contextlib.contextmanager
def linear_kernel(name: str) -> Iterator[None]:
    """Run a block with oneDNN's CPU products ("onednn") or with torch's own ("native")."""
    before = torch._C._get_mkldnn_enabled()
    torch._C._set_mkldnn_enabled(name == "onednn")
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
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        return sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **kwargs
        )
    rows, heads, _, width = query.shape
    grouped = query.view(rows, key.shape[1], -1, width)
    with linear_kernel("onednn"):
        scores = torch.matmul(grouped, key.transpose(2, 3)).float()
        scores = scores.mul_(width**-0.5 if scaling is None else scaling)
        mixed = torch.matmul(scores.softmax(-1).to(value.dtype), value)
    return mixed.reshape(rows, 1, heads, width), None
