"""The machine's own rates, lower bounds of what it can do: of a plain copy, and of a large matrix
product."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

COPY_BYTES = 1 << 28
"""Size of the copied buffer: far larger than any cache."""
MATRIX = {"cpu": 2048, "cuda": 8192}
"""Rows and columns of the product: as much work as fills the device."""


def copy_rate(device: str) -> float:
    """Bytes/s, read and written, of copying 256 MiB. On a CPU a copy's writes may cost a read
    beside, so that work which only reads can reach more than 100% of it."""
    source = torch.ones(COPY_BYTES, dtype=torch.uint8, device=device)
    target = torch.zeros_like(source)
    return rate(2 * COPY_BYTES, lambda: target.copy_(source))


def matrix_rate(device: str, dtype: str) -> float:
    """Operations/s of a product of square matrices."""
    size = MATRIX[device]
    one, other = torch.ones(2, size, size, dtype=getattr(torch, dtype), device=device)
    product = torch.empty_like(one)
    return rate(2 * size**3, lambda: torch.mm(one, other, out=product))


def rate(amount: float, work: Callable[[], Any], repeats: int = 5) -> float:
    """Amount of work over the least seconds that it took, a GPU's included."""
    finish = torch.cuda.synchronize if torch.cuda.is_initialized() else lambda: None
    times = []
    for _ in range(repeats):
        finish()
        start = time.perf_counter()
        work()
        finish()
        times.append(time.perf_counter() - start)
    return amount / min(times)
