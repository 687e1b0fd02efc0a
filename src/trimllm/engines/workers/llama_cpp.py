"""llama.cpp, by its server in the wheel xllamacpp: as many parallel sequences as texts at once, its
own cache and attention; drafts by its draft model."""

from __future__ import annotations

import re
import time
from importlib.metadata import version
from typing import Any

import xllamacpp

from trimllm.exporting.workers.llama_cpp_worker import LlamaCpp


class Engine(LlamaCpp):
    """See `trimllm.engines.workers`. The wheel runs on the CPU; the file says what type it has."""

    def __init__(
        self,
        path: str,
        draft: str | None,
        prompts: list[list[int]],
        generate: int,
        batch: int,
        threads: int,
        exact: bool,
        **ignored: Any,
    ) -> None:
        self.prompts, self.generate = prompts, generate
        room = len(prompts[0]) + generate + 8
        super().__init__(path, room, threads, exact=exact, parallel=batch, draft=draft)
        self.facts = {
            "version": f"xllamacpp {(found := version('xllamacpp'))}",
            "versions": {"xllamacpp": found},
            # what it was built with and finds here: "CPU : SSE3 = 1 | AVX = 1 | REPACK = 1 |"
            "kernel": " ".join(re.findall(r"(\w+) = 1", xllamacpp.get_system_info())),
        }

    def _write(self, prompt: Any, tokens: int, **how: Any) -> tuple[float, Any]:
        """Seconds of a request, and what it answered."""
        start = time.perf_counter()
        found = self.complete(prompt, tokens, ignore_eos=True, **how)
        return time.perf_counter() - start, found

    def time(self, batch: int) -> dict[str, float]:
        """Seconds of prompts, and of what follows: their last tokens are computed again for it."""
        prompts = self.prompts[:batch] if batch > 1 else self.prompts[0]
        prefill, _ = self._write(prompts, 1, cache_prompt=False)
        return {"prefill": prefill, "decode": self._write(prompts, self.generate)[0]}

    def answer(self, number: int) -> dict[str, Any]:
        """A whole answer, which a draft may help with."""
        seconds, found = self._write(self.prompts[number], self.generate, cache_prompt=False)
        told, timings = {"seconds": seconds, "tokens": found["tokens"]}, found["timings"]
        names = {"proposed": "draft_n", "accepted": "draft_n_accepted"}
        return told | {name: timings.get(theirs, 0) for name, theirs in names.items()}

    def gap(self, number: int, written: list[int]) -> float:
        """How far ahead of the next one the best token is, nats."""
        best = sorted(self.likeliest(self.prompts[number] + written, 2).values())
        return best[1] - best[0]
