"""lm-evaluation-harness's model class `trimllm`: its own HFLM, scoring with packed rows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.registry import register_model
from lm_eval.models.huggingface import HFLM

from trimllm.base.names import ANSWERS_AT_ONCE
from trimllm.checkpoint import load
from trimllm.score import Row, score_rows


@register_model("trimllm")
class TrimLM(HFLM):
    """HFLM whose multiple-choice log-likelihoods come from packed rows.

    Requests that share a prompt run as one row (see `trimllm.score`); everything else is HFLM's:
    generation with as many prompts at once as the token budget holds, `ANSWERS_AT_ONCE` at most,
    and rolling log-likelihoods one by one. Usable as `lm_eval --model trimllm --model_args
    pretrained=DIRECTORY` in a process that has imported `trimllm.evaluate`.

    Args:
        pretrained: a checkpoint directory, plain or trimmed, or a model in memory.
        token_budget: packed tokens that run at once; bounds memory, not results.
        dtype: type of the weights when loaded from a directory.
    """

    def __init__(
        self,
        pretrained: Any,
        *,
        tokenizer: Any = None,
        token_budget: int | str = 2048,
        dtype: str = "float32",
        device: str = "cpu",
        batch_size: int | str = 1,
        **kwargs: Any,
    ) -> None:
        if isinstance(pretrained, str | Path):
            pretrained, tokenizer = load(pretrained, dtype=dtype, device=device)
        super().__init__(pretrained=pretrained, tokenizer=tokenizer, batch_size=1, **kwargs)
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
        for numbers, found in zip(by_prompt.values(), scored, strict=True):
            for number, *answer in zip(numbers, found.log_likelihoods, found.greedy, strict=True):
                answers[number] = tuple(answer)
                if (asked := requests[number][0]) is not None:
                    self.cache_hook.add_partial("loglikelihood", asked, answers[number])
        return answers

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        longest = max(len(self.tok_encode(one.args[0])) for one in requests)
        together = min(self.token_budget // max(1, longest), ANSWERS_AT_ONCE)
        self.batch_size_per_gpu = max(1, together)
        answers: list[str] = super().generate_until(requests, disable_tqdm)
        return answers
