"""One model in a process of its own: a bare loop over `forward`, or transformers' `generate`.

Greedy, with a cache, past any end of text. The loop takes the growing cache that `generate` takes;
compiled, a static one, so that CUDA graphs can replay it.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    DynamicCache,
    StaticCache,
    StoppingCriteria,
    StoppingCriteriaList,
    __version__,
)

from trimllm.base.machine import hardware, peak_rss_bytes, versions
from trimllm.sublayers import original_units, units
from trimllm.throughput.build import build
from trimllm.throughput.sizes import (
    is_packed,
    kv_bytes_per_token,
    linears,
    prefill_operations,
    weight_bytes,
)
from trimllm.throughput.subject import Subject

SEED = 0


def forget_peak(device: torch.device) -> None:
    """Let `peak_bytes` begin here; where a CPU's system refuses, it begins with the process."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_bytes(device: torch.device) -> int:
    """Largest memory since `forget_peak`: of the device on a GPU, resident memory on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    with contextlib.suppress(OSError):
        if peak := re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text()):
            return int(peak[1]) * 1024
    return peak_rss_bytes()


class Clock(StoppingCriteria):
    """Stops nothing: notes when each token was there."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.times: list[float] = []

    def __call__(self, input_ids: Tensor, scores: Any, **ignored: Any) -> Tensor:
        self.note()
        return torch.zeros(len(input_ids), dtype=torch.bool, device=self.device)

    def note(self) -> None:
        """A token is there."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.times.append(time.perf_counter())


class Decoder:
    """Prompts and decoding by the bare loop.

    Args:
        ids: (texts, tokens), the prompts.
        generate: tokens decoded after each prompt's next one.
        mode: "eager" or "compiled".
    """

    def __init__(self, model: nn.Module, ids: Tensor, generate: int, mode: str = "eager") -> None:
        self.model, self.ids, self.generate, self.mode = model, ids, generate, mode
        # The last position is a slice of (1, tokens, width), whose strides make torch copy the
        # head's whole weight before it multiplies: 40% of the time of SmolLM2-135M's prompt.
        model.get_output_embeddings().register_forward_pre_hook(
            lambda head, inputs: inputs[0].clone(memory_format=torch.contiguous_format)
        )
        self.step: Callable[..., Any] = model.forward
        if mode == "compiled":
            self.step = torch.compile(model.forward, mode="reduce-overhead", dynamic=False)
        self.cache: Any = None

    def _new_cache(self) -> Any:
        if getattr(self.model, "caches", 1) == 0:
            return None  # no attention is left: nothing to remember
        if self.mode != "compiled":
            return DynamicCache()
        if self.cache is None:
            room = self.ids.shape[1] + self.generate
            return StaticCache(config=self.model.config, max_cache_len=room)
        self.cache.reset()  # the same memory, which CUDA graphs have recorded
        return self.cache

    def _next(self, step: Callable[..., Any], ids: Tensor, **options: Any) -> Tensor:
        output = step(ids, past_key_values=self.cache, use_cache=self.cache is not None, **options)
        return output.logits[:, -1:].argmax(-1)

    @torch.inference_mode()
    def run(self, batch: int, clock: Clock) -> Tensor:
        """Decode the first `batch` prompts: tokens (batch, 1 + generate)."""
        self.cache = self._new_cache()
        tokens = [self._next(self.model, self.ids[:batch], logits_to_keep=1)]
        clock.note()
        for _ in range(self.generate):
            torch.compiler.cudagraph_mark_step_begin()
            tokens.append(self._next(self.step, tokens[-1]))
        clock.note()
        return torch.cat(tokens, 1)


class Worker:
    """A subject, timed (see `trimllm.throughput.session`).

    Args:
        subject: attributes of the `Subject`.
        prompts: token ids of texts, all of one length, for `generate`; or how many random tokens
            the loop's one prompt has.
        generate: tokens decoded after the prompt's next one.
    """

    def __init__(
        self, subject: dict[str, Any], prompts: int | list[list[int]], generate: int
    ) -> None:
        made = Subject(**subject)
        torch.set_num_threads(made.threads)
        self.model, self.generate = build(made), generate
        self.device = self.model.get_input_embeddings().weight.device
        if loop := isinstance(prompts, int):
            drawn, size = torch.Generator().manual_seed(SEED), (1, prompts)
            ids = torch.randint(3, self.model.config.vocab_size, size, generator=drawn)
        else:
            ids = torch.tensor(prompts)
        self.ids = ids.to(self.device)
        self.facts = facts(made, self.model, self.ids.shape[1])
        forget_peak(self.device)
        self.loop = Decoder(self.model, self.ids, generate, made.mode) if loop else None

    def time(self, batch: int) -> dict[str, Any]:
        """Seconds of the prompts and of what follows, and the largest memory so far."""
        clock = Clock(self.device)
        clock.note()
        if self.loop:
            self.loop.run(batch, clock)
        else:
            self._generate(self.ids[:batch], clock)
        start, first, last = clock.times[0], clock.times[1], clock.times[-1]
        peak = peak_bytes(self.device)
        return {"prefill": first - start, "decode": last - first, "peak_memory_bytes": peak}

    @torch.inference_mode()
    def _generate(self, ids: Tensor, clock: Clock) -> None:
        self.model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=1 + self.generate,
            do_sample=False,
            eos_token_id=[],
            pad_token_id=0,
            stopping_criteria=StoppingCriteriaList([clock]),
        )


def facts(subject: Subject, model: nn.Module, prompt: int) -> dict[str, Any]:
    """Sublayers, bytes of the weights and of a token in the cache, operations, kernels, versions.

    `layers` are the kinds of the sublayers' linear layers: the kernel of a compressed model.
    """
    left, layers = units(model), sorted(set(map(_kind, linears(model))))
    return {
        "units": [list(unit) for unit in left],
        "units_kept": len(left),
        "units_total": original_units(model),
        "bytes": weight_bytes(model),
        "kv_bytes_per_token": kv_bytes_per_token(model),
        "prefill_operations": prefill_operations(model, prompt),
        "layers": layers,
        "kernel": ", ".join([model.config._attn_implementation, *layers]),
        "precision": str(model.dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "timed_on": hardware(),
        "version": f"transformers {__version__}",
        "versions": versions("gptqmodel", "bitsandbytes"),
        **{name: getattr(subject, name) for name in ("dtype", "device", "mode")},
    }


def _kind(layer: Any) -> str:
    """Class of a linear layer, and of its weights where they are packed."""
    packed = type(layer) is nn.Linear and is_packed(layer.weight)
    return f"Linear of {type(layer.weight.data).__name__}" if packed else type(layer).__name__
