"""A machine's own rates: of a plain copy, and of a large matrix product."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

COPY_BYTES = 1 << 28
"""Size of the copied buffer: far larger than any cache."""
MATRIX = {"cpu": 2048, "cuda": 8192}
"""Rows and columns of the product: as much work as fills the device."""
LONGEST = 1.0
"""Seconds that one such product may take. Where a type is emulated (bfloat16 without AVX512 has a
sixtieth of float32's rate) a smaller one stands for it."""


class Worker:
    """See `trimllm.throughput.session`."""

    def __init__(self, device: str, dtype: str, threads: int, repeats: int = 5) -> None:
        torch.set_num_threads(threads)
        self.device, self.repeats = torch.device(device), repeats
        self.dtype = getattr(torch, dtype)
        self.facts: dict[str, Any] = {}

    def copy(self) -> float:
        """Bytes/s, read and written, of copying 256 MiB: the best of some.

        A lower bound of what the memory can do: on a CPU a copy's writes may cost a read beside, so
        that work which only reads can reach more than 100% of it.
        """
        source = torch.ones(COPY_BYTES, dtype=torch.uint8, device=self.device)
        target = torch.zeros_like(source)
        target.copy_(source)  # not timed: makes the pages of both
        best = min(self.seconds(lambda: target.copy_(source)) for _ in range(self.repeats))
        return 2 * COPY_BYTES / best

    def matrix(self) -> float:
        """Operations/s of a product of square matrices, the best of some: of as large ones as take
        no longer than `LONGEST`. A lower bound of what the device can do."""
        size = MATRIX[self.device.type] // 8
        # Twice the size takes eight times as long.
        while size < MATRIX[self.device.type] and 8 * self.product(size, 1) <= LONGEST:
            size *= 2
        return 2 * size**3 / self.product(size, self.repeats)

    def product(self, size: int, repeats: int) -> float:
        """Seconds of a product of matrices with so many rows and columns."""
        one, other = torch.ones(2, size, size, dtype=self.dtype, device=self.device)
        product = torch.mm(one, other)  # not timed
        work = partial(torch.mm, one, other, out=product)
        return min(self.seconds(work) for _ in range(repeats))

    def seconds(self, work: Callable[[], Any]) -> float:
        """Seconds of a call, the GPU's work included."""
        self.finish()
        start = time.perf_counter()
        work()
        self.finish()
        return time.perf_counter() - start

    def finish(self) -> None:
        """Wait for the GPU."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
