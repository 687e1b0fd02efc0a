"""transformers: `generate` as it comes, greedy, with a growing cache, and `assistant_model`."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor
from transformers import StoppingCriteria, StoppingCriteriaList, __version__

from trimllm.base.machine import versions
from trimllm.checkpoint import load
from trimllm.sublayers.modeling_trimllm import decoder_of
from trimllm.throughput.worker import seconds_of, weight_bytes


class Clock(StoppingCriteria):
    """Stops nothing: notes when each token was there."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.times: list[float] = []

    def __call__(self, input_ids: Tensor, scores: Any, **how: Any) -> Tensor:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.times.append(time.perf_counter())
        return torch.zeros(len(input_ids), dtype=torch.bool, device=self.device)


class Engine:
    """See `trimllm.engines.workers`; answers that are compared are computed in float32."""

    def __init__(
        self,
        path: str,
        draft: str | None,
        prompts: list[list[int]],
        generate: int,
        threads: int,
        device: str,
        dtype: str,
        exact: bool,
        trust_remote_code: bool,
        **ignored: Any,
    ) -> None:
        torch.set_num_threads(threads)
        how: dict[str, Any] = {"dtype": "float32" if exact else dtype, "device": device}
        how |= {"trust_remote_code": trust_remote_code, "verify": False}
        self.model, _ = load(path, **how)
        self.draft = load(draft, **how)[0] if draft else None
        self.ids, self.generate = torch.tensor(prompts, device=device), generate
        # How often either model ran: a draft proposes a token each time, and whatever the full
        # model takes less than once for was accepted.
        self.runs = {"model": 0, "draft": 0}
        for name, model in (("model", self.model), ("draft", self.draft)):
            if model is not None:
                model.register_forward_hook(lambda *_, name=name: self._ran(name))
        modules = decoder_of(self.model).modules()
        layers = {type(one).__name__ for one in modules if hasattr(one, "in_features")}
        self.facts = {
            "version": f"transformers {__version__}",
            "versions": versions("gptqmodel", "bitsandbytes"),
            "kernel": ", ".join([self.model.config._attn_implementation, *sorted(layers)]),
            "precision": str(self.model.dtype).removeprefix("torch."),
            "bytes": weight_bytes(self.model),
        }

    def _ran(self, name: str) -> None:
        self.runs[name] += 1

    @torch.inference_mode()
    def _write(self, ids: Tensor, tokens: int, **how: Any) -> Tensor:
        how |= {"assistant_model": self.draft} if self.draft is not None else {}
        return self.model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=tokens,
            do_sample=False,
            eos_token_id=[],
            pad_token_id=0,
            **how,
        )

    def time(self, batch: int) -> dict[str, float]:
        """Seconds of a prompt and of what follows."""
        clock, start = Clock(self.ids.device), time.perf_counter()
        criteria = StoppingCriteriaList([clock])
        self._write(self.ids[:batch], 1 + self.generate, stopping_criteria=criteria)
        first, last = clock.times[0], clock.times[-1]
        return {"prefill": first - start, "decode": last - first}

    def answer(self, number: int) -> dict[str, Any]:
        """A whole answer, which a draft may help with."""
        ids, self.runs = self.ids[number : number + 1], {"model": 0, "draft": 0}
        made: list[Tensor] = []
        seconds = seconds_of(lambda: made.append(self._write(ids, self.generate)), ids.device)
        tokens = made[0][0, ids.shape[1] :].tolist()
        found = {"seconds": seconds, "tokens": tokens}
        accepted = len(tokens) - self.runs["model"]
        return found | {"proposed": self.runs["draft"], "accepted": accepted}

    @torch.inference_mode()
    def gap(self, number: int, written: list[int]) -> float:
        """How far ahead of the next one the best token is, nats."""
        ids = torch.cat([self.ids[number], torch.tensor(written, device=self.ids.device).long()])
        best = self.model(ids[None], use_cache=False).logits[0, -1].float().topk(2).values
        return float(best[0] - best[1])
