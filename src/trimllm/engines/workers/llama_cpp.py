"""llama.cpp, by its server in the wheel xllamacpp: as many parallel sequences as texts at once, its
own cache and attention."""

from __future__ import annotations

import re
import time
from importlib.metadata import version
from typing import Any

import xllamacpp

from trimllm.exporting.workers.llama_cpp_worker import LlamaCpp


class Worker(LlamaCpp):
    """A GGUF file, timed. The wheel runs on the CPU; the file says what type it has."""

    def __init__(
        self, path: str, prompts: list[list[int]], generate: int, batch: int, threads: int
    ) -> None:
        self.prompts, self.generate = prompts, generate
        room = len(prompts[0]) + generate + 8
        super().__init__(path, room, threads, exact=False, parallel=batch)
        installed = version("xllamacpp")
        self.facts = {
            "version": f"xllamacpp {installed}",
            "versions": {"xllamacpp": installed},
            # What it was built with and can use: "CPU : SSE3 = 1 | AVX = 1 | REPACK = 1 |".
            "kernel": " ".join(re.findall(r"(\w+) = 1", xllamacpp.get_system_info())),
        }

    def time(self, batch: int) -> dict[str, float]:
        """Seconds of prompts, and of what follows: their last tokens are computed again for it."""
        prompts: Any = self.prompts[:batch] if batch > 1 else self.prompts[0]
        start = time.perf_counter()
        self.complete(prompts, 1, ignore_eos=True, cache_prompt=False)
        first = time.perf_counter()
        self.complete(prompts, self.generate, ignore_eos=True)
        return {"prefill": first - start, "decode": time.perf_counter() - first}
