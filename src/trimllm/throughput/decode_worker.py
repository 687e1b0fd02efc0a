"""One model in transformers: a bare loop over `forward`, or `generate` as it comes.

Greedy, with a cache, past any end of text. The loop takes the growing cache that `generate` takes;
compiled, a static one, so that CUDA graphs can replay it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache, StaticCache, StoppingCriteriaList, __version__

from trimllm.base.machine import peak_rss_bytes, versions
from trimllm.throughput.build import build, linears, sizes
from trimllm.throughput.subject import Subject


class Worker:
    """A `Subject` (its attributes), timed with prompts of `prompt` tokens, by the bare loop or by
    `generate`."""

    def __init__(self, subject: dict[str, Any], prompt: int, loop: bool) -> None:
        timed = Subject(**subject)
        torch.set_num_threads(timed.threads)
        self.model = build(timed)
        self.device = self.model.get_input_embeddings().weight.device
        layers = sorted(set(map(_kind, linears(self.model))))  # the kernels of a compressed model
        self.facts = sizes(self.model, prompt) | {
            "layers": layers,
            "kernel": ", ".join([self.model.config._attn_implementation, *layers]),
            "precision": str(self.model.dtype).removeprefix("torch."),
            "threads": torch.get_num_threads(),
            "version": f"transformers {__version__}",
            "versions": versions("gptqmodel", "bitsandbytes"),
            **{name: getattr(timed, name) for name in ("dtype", "device", "mode")},
        }
        self.decode = Loop(self.model, timed.mode) if loop else self._generate
        if self.device.type == "cuda":  # packing weights takes more than running them
            torch.cuda.reset_peak_memory_stats(self.device)

    def time(self, prompts: list[list[int]], generate: int) -> dict[str, Any]:
        """Seconds of the prompts and of what follows, and the largest memory so far: on a CPU that
        of the process, loading included."""
        ids, times = torch.tensor(prompts, device=self.device), list[float]()
        cuda = self.device.type == "cuda"

        def note() -> None:
            if cuda:
                torch.cuda.synchronize(self.device)
            times.append(time.perf_counter())

        note()
        self.decode(ids, generate, note)
        peak = torch.cuda.max_memory_allocated(self.device) if cuda else peak_rss_bytes()
        seconds = {"prefill": times[1] - times[0], "decode": times[-1] - times[1]}
        return seconds | {"peak_memory_bytes": peak}

    @torch.inference_mode()
    def _generate(self, ids: Tensor, generate: int, note: Callable[[], None]) -> Tensor:
        def on_token(ids: Tensor, *ignored: Any, **options: Any) -> Tensor:
            note()
            return torch.zeros(len(ids), dtype=torch.bool, device=ids.device)  # stops nothing

        return self.model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=1 + generate,
            do_sample=False,
            eos_token_id=[],
            pad_token_id=0,
            stopping_criteria=StoppingCriteriaList([on_token]),
        )


class Loop:
    """Greedy decoding by a bare loop over `forward`, "eager" or "compiled"."""

    def __init__(self, model: nn.Module, mode: str = "eager") -> None:
        self.model, self.compiled = model, mode == "compiled"
        self.static: Any = None  # the cache of the compiled model
        # The last position is a slice of (1, tokens, width), whose strides make torch copy the
        # head's whole weight before it multiplies: 40% of the time of SmolLM2-135M's prompt.
        model.get_output_embeddings().register_forward_pre_hook(
            lambda head, inputs: inputs[0].clone(memory_format=torch.contiguous_format)
        )
        self.step = model.forward
        if self.compiled:
            self.step = torch.compile(model.forward, mode="reduce-overhead", dynamic=False)

    @torch.inference_mode()
    def __call__(self, ids: Tensor, generate: int, note: Callable[[], None]) -> Tensor:
        """Tokens (texts, 1 + generate) after prompts (texts, tokens); calls `note` after the first
        and after the last."""
        cache = self._empty_cache(ids.shape[1] + generate)
        options = {"past_key_values": cache, "use_cache": cache is not None}
        logits = self.model(ids, logits_to_keep=1, **options).logits
        tokens = [logits[:, -1:].argmax(-1)]
        note()
        for _ in range(generate):
            torch.compiler.cudagraph_mark_step_begin()
            tokens.append(self.step(tokens[-1], **options).logits[:, -1:].argmax(-1))
        note()
        return torch.cat(tokens, 1)

    def _empty_cache(self, room: int) -> Any:
        if getattr(self.model, "caches", 1) == 0:
            return None  # no attention is left: nothing to remember
        if not self.compiled:
            return DynamicCache()
        if self.static is None:
            self.static = StaticCache(config=self.model.config, max_cache_len=room)
        self.static.reset()  # the same memory every round, which CUDA graphs have recorded
        return self.static


def _kind(layer: Any) -> str:
    """Class of a linear layer, and of its weights where they are packed."""
    name, weights = type(layer).__name__, type(getattr(layer, "weight", None)).__name__
    return f"Linear of {weights}" if name == "Linear" and "Sparse" in weights else name
