"""transformers, which runs padded exports."""

from __future__ import annotations

from typing import Any

import torch

from trimllm.checkpoint import load
from trimllm.exporting import reference


class Worker:
    """A checkpoint (see `trimllm.exporting.engines`)."""

    def __init__(self, path: str, threads: int, context: int) -> None:
        torch.set_num_threads(threads)
        self.model, self.tokenizer = load(path, verify=False)
        self.facts: dict[str, Any] = {}

    def answer(self, question: dict[str, Any]) -> dict[str, Any]:
        """Answer to the question of a proof (see `trimllm.exporting.proof`)."""
        return reference.answer(self.model, self.tokenizer, question)
