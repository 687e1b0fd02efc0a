"""A machine's own rates: of a plain copy, and of a large matrix product."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch

COPY_BYTES = 1 << 28
"""Size of the copied buffer: far larger than any cache."""
MATRIX = {"cpu": 2048, "cuda": 8192}
"""Rows and columns of the product: as much work as fills the device."""


class Worker:
    """See `trimllm.throughput.session`. Rates are lower bounds of what the device can do."""

    def __init__(self, device: str, dtype: str, threads: int) -> None:
        torch.set_num_threads(threads)
        self.device, self.dtype = torch.device(device), getattr(torch, dtype)
        self.facts: dict[str, Any] = {}

    def copy(self) -> float:
        """Bytes/s, read and written, of copying 256 MiB. On a CPU a copy's writes may cost a read
        beside, so that work which only reads can reach more than 100% of it."""
        source = torch.ones(COPY_BYTES, dtype=torch.uint8, device=self.device)
        target = torch.zeros_like(source)
        return self.rate(2 * COPY_BYTES, lambda: target.copy_(source))

    def matrix(self) -> float:
        """Operations/s of a product of square matrices."""
        size = MATRIX[self.device.type]
        one, other = torch.ones(2, size, size, dtype=self.dtype, device=self.device)
        product = torch.empty_like(one)
        return self.rate(2 * size**3, lambda: torch.mm(one, other, out=product))

    def rate(self, amount: float, work: Callable[[], Any], repeats: int = 5) -> float:
        """Amount of work over the least seconds that it took, the GPU's included."""
        times = []
        for _ in range(repeats):
            self._finish()
            start = time.perf_counter()
            work()
            self._finish()
            times.append(time.perf_counter() - start)
        return amount / min(times)

    def _finish(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
