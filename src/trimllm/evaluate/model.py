"""lm-evaluation-harness's HFLM, with log-likelihoods of choices from packed rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from lm_eval.models.huggingface import HFLM
from torch import nn

from trimllm.score import Row, score_rows

ANSWERS_AT_ONCE = 8
"""Free answers that are generated at once: on a CPU more give little, and their keys and values
must fit beside the weights of a 7B model."""


class TrimLM(HFLM):
    """HFLM whose requests that share a prompt run as one row (see `trimllm.score`).

    Args:
        model, tokenizer: in memory, plain or trimmed.
        token_budget: tokens that are scored at once; bounds memory, and changes results by rounding
            alone.
    """

    def __init__(self, model: nn.Module, tokenizer: Any, token_budget: int = 2048) -> None:
        super().__init__(pretrained=model, tokenizer=tokenizer, batch_size=ANSWERS_AT_ONCE)
        self.token_budget = token_budget

    def _loglikelihood_tokens(
        self, requests: Sequence[Any], disable_tqdm: bool = False, override_bs: int | None = None
    ) -> list[tuple[float, bool]]:
        by_prompt: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for number, (_, prompt, _) in enumerate(requests):  # texts, tokens of prompt and choice
            by_prompt[tuple(prompt)].append(number)
        rows = [
            Row(prompt, tuple(tuple(requests[number][2]) for number in numbers))
            for prompt, numbers in by_prompt.items()
        ]
        answers: list[tuple[float, bool]] = [(0.0, False)] * len(requests)
        scored = score_rows(self.model, rows, token_budget=self.token_budget)
        for numbers, one in zip(by_prompt.values(), scored, strict=True):
            for number, *answer in zip(numbers, one.log_likelihoods, one.greedy, strict=True):
                answers[number] = tuple(answer)
        return answers
