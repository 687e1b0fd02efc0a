"""lm-evaluation-harness's model class `trimllm`: its own HFLM, scoring with packed rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lm_eval.api.registry import register_model
from lm_eval.models.huggingface import HFLM

from trimllm.checkpoint import load
from trimllm.score import Row, score_rows

ANSWERS_AT_ONCE = 8
"""Free answers that are generated at once: on a CPU more give little, and their keys and values
must fit beside the weights of a 7B model."""


@register_model("trimllm")
class TrimLM(HFLM):
    """HFLM whose multiple-choice log-likelihoods come from packed rows.

    Requests that share a prompt run as one row (see `trimllm.score`); generation and rolling
    log-likelihoods are HFLM's. Usable as `lm_eval --model trimllm --model_args
    pretrained=DIRECTORY` in a process that has imported `trimllm.evaluate`.

    Args:
        pretrained: a checkpoint directory, plain or trimmed, or a model in memory.
        token_budget: tokens that are scored at once; bounds memory, and changes results by rounding
            alone.
        batch_size: answers that are generated at once.
        dtype: type of the weights when loaded from a directory.
    """

    def __init__(
        self,
        pretrained: Any,
        *,
        tokenizer: Any = None,
        token_budget: int | str = 2048,
        batch_size: int | str = ANSWERS_AT_ONCE,
        dtype: str = "float32",
        device: str = "cpu",
        **kwargs: Any,
    ) -> None:
        if isinstance(pretrained, str | Path):
            pretrained, tokenizer = load(pretrained, dtype=dtype, device=device)
        super().__init__(
            pretrained=pretrained, tokenizer=tokenizer, batch_size=batch_size, **kwargs
        )
        self.token_budget = int(token_budget)

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
                if (texts := requests[number][0]) is not None:
                    self.cache_hook.add_partial("loglikelihood", texts, answers[number])
        return answers
