"""One model in one fresh process, told by lines of JSON on its standard input what to time
(`trimllm.base.turns`).

Decoding is a bare loop over `model.forward` with a KV cache: greedy, batch 1, no end of text. The
eager loop uses the growing cache that `generate` uses; the compiled one a static cache, so that
CUDA graphs can replay it.
"""

from __future__ import annotations

import contextlib
import re
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache, StaticCache

from trimllm.base.machine import hardware, peak_rss_bytes, versions
from trimllm.base.turns import serve
from trimllm.sublayers import original_units, units
from trimllm.sublayers.modeling_trimllm import decoder_of
from trimllm.throughput.build import (
    STOCK,
    build,
    faster_kernel,
    linear_kernel,
    linear_kernels,
    use_one_row_kernels,
)
from trimllm.throughput.subject import Subject

COPY_BYTES = 1 << 28
"""Size of the copied buffer: far larger than any cache."""
MATRIX = {"cpu": 2048, "cuda": 8192}
"""Rows and columns of the product that stands for a device's rate of products: as much work as
fills it."""
LONGEST = 1.0
"""Seconds that one such product may take. Where a type is emulated (bfloat16 without AVX512 has a
sixtieth of float32's rate) a smaller one stands for it: six whole ones took two minutes a round."""
STEPS = 7
"""Tokens decoded by each linear kernel before one is chosen."""
PRODUCTS = 8
"""Passes over a token's linear layers of which a round takes the mean: by three, the share of the
same full model's time was 0.77 to 0.90 from one measurement to the next."""
SEED = 0


def seconds_of(work: Callable[[], Any], device: torch.device) -> float:
    """Wall-clock seconds of a call, the GPU's work included."""
    finish = partial(torch.cuda.synchronize, device) if device.type == "cuda" else lambda: None
    finish()
    start = time.perf_counter()
    work()
    finish()
    return time.perf_counter() - start


def copy_rate(device: torch.device, repeats: int = 5) -> float:
    """Bytes/s, read and written, of a plain copy of 256 MiB: the best of some.

    A lower bound of what the memory can do: on a CPU a copy's writes may cost a read beside, so
    that work which only reads can reach more than 100% of it.
    """
    source = torch.ones(COPY_BYTES, dtype=torch.uint8, device=device)
    target = torch.zeros_like(source)
    target.copy_(source)  # does not count: the pages of both are there from now on
    best = min(seconds_of(lambda: target.copy_(source), device) for _ in range(repeats))
    return 2 * COPY_BYTES / best


def matrix_rate(device: torch.device, dtype: torch.dtype, repeats: int = 5) -> float:
    """Operations/s of one large product of square matrices: the best of some, of as large a one as
    takes no longer than `LONGEST`.

    A lower bound of what the device can do, so that work whose shapes suit it better, or whose
    weights take fewer bits, can reach more than 100% of it.
    """

    def best(size: int, repeats: int) -> float:
        one, other = torch.ones(2, size, size, dtype=dtype, device=device)
        product = torch.mm(one, other)  # does not count
        work = partial(torch.mm, one, other, out=product)
        return min(seconds_of(work, device) for _ in range(repeats))

    size = MATRIX[device.type] // 8
    while size < MATRIX[device.type] and 8 * best(size, 1) <= LONGEST:  # the next one's seconds
        size *= 2
    return 2 * size**3 / best(size, repeats)


def weight_bytes(model: nn.Module) -> dict[str, int]:
    """Bytes of the stored weights: `units`, input `embeddings`, and `head` (0 where it is tied).

    To be asked before the first forward pass: some int4 kernels repack their weights there.
    """
    layers = decoder_of(model).layers
    embeddings, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    # A state may hold more than parameters and buffers: notes of a kernel.
    own = {name for name, _ in (*layers.named_parameters(), *layers.named_buffers())}
    return {
        "units": sum(_stored(value) for name, value in layers.state_dict().items() if name in own),
        "embeddings": _stored(embeddings),
        "head": 0 if head is embeddings else _stored(head),
    }


def _stored(value: Any) -> int:
    if _is_packed(value):
        return sum(part.nbytes for part in (value.packed, value.meta) if part is not None)
    return int(value.nbytes)


def _is_packed(value: Any) -> bool:
    """Whether a weight is 2:4 sparse as a GPU's tensor cores take it."""
    return type(value.data) is not Tensor and hasattr(value, "packed")


def _kind(layer: Any) -> str:
    """Class of a linear layer, and of its weights where they are packed."""
    packed = _is_packed(layer.weight) if type(layer) is nn.Linear else False
    return f"Linear of {type(layer.weight.data).__name__}" if packed else type(layer).__name__


def kv_bytes_per_token(model: nn.Module) -> int:
    """Bytes that one token adds to the KV cache: 2 · attentions · KV heads · head width."""
    heads = model.config.num_attention_heads
    shared = getattr(model.config, "num_key_value_heads", None) or heads
    return 2 * _attention_width(model) * shared // heads * model.dtype.itemsize


def prefill_operations(model: nn.Module, prompt: int) -> int:
    """Multiplications and additions of the matrix products of a prompt, up to the first token.

    Each weight of the units takes two a token, each weight of the head two in all, and the t-th
    token's attention 4 · heads · head width · t. A compressed weight counts like a dense one.
    """
    inside = sum(layer.in_features * layer.out_features for layer in _linears(model))
    keys = prompt * (prompt + 1) // 2  # that all tokens together look at
    head = model.get_output_embeddings().weight.numel()
    return 2 * prompt * inside + 4 * _attention_width(model) * keys + 2 * head


def _linears(model: nn.Module) -> list[Any]:
    """The units' linear layers, compressed ones among them."""
    return [m for m in decoder_of(model).layers.modules() if hasattr(m, "in_features")]


def _attention_width(model: nn.Module) -> int:
    """Width of the queries of all attention units together."""
    config, heads = model.config, model.config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    return sum(unit.kind == "attention" for unit in units(model)) * heads * width


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


class Decoder:
    """Prefill and decoding of one model over one fixed prompt.

    Args:
        prompt: tokens of the prompt, drawn at random.
        generate: tokens decoded after it in one go.
        mode: "eager" or "compiled".

    Attributes:
        decoded_ids: (1, 1) each, the tokens of the last round, from the prompt's next token on.
    """

    def __init__(self, model: nn.Module, prompt: int, generate: int, mode: str = "eager") -> None:
        self.model, self.prompt, self.generate, self.mode = model, prompt, generate, mode
        self.device = model.get_input_embeddings().weight.device
        drawn = torch.Generator().manual_seed(SEED)
        ids = torch.randint(3, model.config.vocab_size, (1, prompt), generator=drawn)
        self.ids = ids.to(self.device)
        use_one_row_kernels(model)
        self.step: Callable[..., Any] = model.forward
        if mode == "compiled":
            self.step = torch.compile(model.forward, mode="reduce-overhead", dynamic=False)
        self.cache: Any = None
        self.decoded_ids: list[Tensor] = []

    def _new_cache(self) -> Any:
        if getattr(self.model, "caches", 1) == 0:
            return None  # no attention is left: nothing to remember
        if self.mode != "compiled":
            return DynamicCache()
        if self.cache is None:
            return StaticCache(config=self.model.config, max_cache_len=self.prompt + self.generate)
        self.cache.reset()  # the same memory, which CUDA graphs have recorded
        return self.cache

    def _next(self, step: Callable[..., Any], ids: Tensor, **how: Any) -> None:
        output = step(ids, past_key_values=self.cache, use_cache=self.cache is not None, **how)
        self.decoded_ids.append(output.logits[:, -1:].argmax(-1))

    @torch.inference_mode()
    def prefill_seconds(self) -> float:
        """Seconds until the first token is known; leaves the cache for `decode_seconds`."""
        self.cache, self.decoded_ids = self._new_cache(), []
        return seconds_of(lambda: self._next(self.model, self.ids, logits_to_keep=1), self.device)

    @torch.inference_mode()
    def decode_seconds(self, kernel: str = STOCK, tokens: int | None = None) -> float:
        """Seconds of `tokens` (None: `generate`) after the prompt's, each fed the one before."""
        self._rewind()
        with linear_kernel(kernel):
            return seconds_of(partial(self._decode, tokens or self.generate), self.device)

    def _rewind(self) -> None:
        """Forget all tokens after the prompt's next one."""
        decoded = len(self.decoded_ids) - 1
        if decoded and isinstance(self.cache, StaticCache):
            self.prefill_seconds()  # a static cache cannot be cut: fill it anew
        elif decoded and self.cache is not None:
            self.cache.crop(-decoded)
        del self.decoded_ids[1:]

    @torch.inference_mode()
    def products_seconds(self, kernel: str = STOCK) -> float:
        """Seconds of a token's linear layers alone, one after the other without what lies between
        them: those of the units and the head, compressed ones as they are, on what the token after
        the prompt gives them (outliers are what LLM.int8() takes time for). The mean of some."""
        taken: list[tuple[nn.Module, Tensor]] = []
        layers = [*_linears(self.model), self.model.get_output_embeddings()]
        with contextlib.ExitStack() as stack:
            for layer in layers:
                hook = layer.register_forward_pre_hook(
                    lambda layer, args: taken.append((layer, args[0]))
                )
                stack.callback(hook.remove)
            self._rewind()
            self._next(self.model, self.decoded_ids[-1])

        def once() -> None:
            for layer, given in taken:
                layer(given)

        def several() -> None:
            for _ in range(PRODUCTS):
                once()

        with linear_kernel(kernel):
            once()  # does not count
            return seconds_of(several, self.device) / PRODUCTS

    def kernel_seconds(self) -> dict[str, float]:
        """Seconds of a decoded token by each linear kernel: the median of `STEPS` in which they
        take turns, after one that does not count. Empty where there is no choice.

        Which is faster depends on processor, shapes and compressor: where a 2048 x 2048 product of
        one 16-bit row takes oneDNN 470 µs and torch 290, one of 8-bit integers takes 300 and 8700.
        """
        kernels = linear_kernels(self.model)
        found: dict[str, list[float]] = {name: [] for name in kernels}
        for _ in range(1 + STEPS if len(kernels) > 1 else 0):
            for name, seconds in found.items():
                seconds.append(self.decode_seconds(name, 1))
        return {name: statistics.median(each[1:]) for name, each in found.items() if each}

    def _decode(self, tokens: int) -> None:
        for _ in range(tokens):
            torch.compiler.cudagraph_mark_step_begin()
            self._next(self.step, self.decoded_ids[-1])
        self.decoded_ids[-1].item()  # the last token counts when it is there


def facts(subject: Subject, model: nn.Module, prompt: int) -> dict[str, Any]:
    """What the model is: units, bytes of weights and of one token in the cache, operations.

    `layers` are the kinds of the units' linear layers: the kernel of a compressed model.
    """
    left = units(model)
    return {
        "units": [list(unit) for unit in left],
        "units_kept": len(left),
        "units_total": original_units(model),
        "bytes": weight_bytes(model),
        "kv_bytes_per_token": kv_bytes_per_token(model),
        "prefill_operations": prefill_operations(model, prompt),
        "layers": sorted(set(map(_kind, _linears(model)))),
        "threads": torch.get_num_threads(),
        "timed_on": hardware(),
        "versions": versions("gptqmodel", "bitsandbytes"),
        **{name: getattr(subject, name) for name in ("dtype", "device", "mode")},
    }


class Timed:
    """What a process of `turns` answers by; the commands are its methods.

    Args:
        subject: attributes of the `Subject`.
        prompt, generate: as of `Decoder`.
    """

    def __init__(self, subject: dict[str, Any], prompt: int, generate: int) -> None:
        made = Subject(**subject)
        torch.set_num_threads(made.threads)
        self.model = build(made)
        self.facts = facts(made, self.model, prompt)
        forget_peak(self.model.device)
        self.decoder = Decoder(self.model, prompt, generate, made.mode)
        self.prefill, self.decode = self.decoder.prefill_seconds, self.decoder.decode_seconds

    def choose_kernel(self) -> dict[str, Any]:
        """The linear kernel that this model decodes fastest with; to be asked after a prompt."""
        seconds = self.decoder.kernel_seconds()
        return {"linear_kernel": faster_kernel(seconds), "linear_kernel_seconds": seconds}

    def products(self, kernel: str) -> float:
        """Seconds of one token's products alone; to be asked after a prompt."""
        return self.decoder.products_seconds(kernel)

    def peak(self) -> int:
        """Largest memory so far; to be asked before the first `copy` or `matrix`."""
        return peak_bytes(self.model.device)

    def copy(self) -> float:
        """Bytes/s of a plain copy."""
        return copy_rate(self.model.device)

    def matrix(self) -> float:
        """Operations/s of a large product in the model's type."""
        return matrix_rate(self.model.device, self.model.dtype)


if __name__ == "__main__":
    serve(Timed)
