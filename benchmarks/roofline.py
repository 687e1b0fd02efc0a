"""How close training, scan, evaluation and decoding come to what this machine can do at all.

For each: matrix products counted (torch's own counter, backward included) and bytes of weights that
must move, over the rate of products and the bandwidth of copies that are measured beside it. The
slower of the two bounds the time from below; `reached` is that bound over the time taken.

    python benchmarks/roofline.py
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from common import arguments, linear_rate, load, median_seconds, questions, report
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from trimllm.base.precision import compute_dtype, rounded_copy
from trimllm.data import Document
from trimllm.scanning import scan
from trimllm.score import score
from trimllm.train import TrainSettings, set_trainable, train_pass

# Bytes a trained parameter and step: float32 to 16 bits (read, written), 16 bits read forward and
# twice backward, gradient in float32 written, read by the clip, read and written by AdamW with
# weight and two moments. Of a frozen one 16 bits are read forward and backward.
TRAINED, FROZEN = 4 + 2 + 3 * 2 + 2 * 4 + 4 + 3 * (4 + 4), 2 * 2


@dataclass
class Work:
    """What a piece of work must do at least, and how long it took."""

    operations: float
    bytes: float
    seconds: float
    tokens: int

    def row(self, rate: float, bandwidth: float) -> dict[str, float]:
        """The bound by products and by bytes, and the share of the larger that was reached."""
        bounds = self.operations / rate, self.bytes / bandwidth
        return {
            "by_operations": bounds[0],
            "by_bytes": bounds[1],
            "seconds": self.seconds,
            "reached": max(bounds) / self.seconds,
            "tokens_per_second": self.tokens / self.seconds,
        }


def counted(work: Callable[[], Any]) -> float:
    """Floating-point operations of the matrix products of a call."""
    with FlopCounterMode(display=False) as counter:
        work()
    return float(counter.get_total_flops())


def copy_bandwidth() -> float:
    """Bytes/s, read and written, of a copy far larger than the caches."""
    source = torch.empty(1 << 27)
    target = torch.empty_like(source)
    return 2 * source.nbytes / median_seconds(lambda: target.copy_(source), 5)


def training(
    model: nn.Module, tokenizer: Any, documents: list[Document], blocks: list[int] | None, size: int
) -> Work:
    """One pass over the documents."""
    settings = TrainSettings(learning_rate=1e-6, batch_size=size)
    trained = sum(p.numel() for p in set_trainable(model, blocks))
    whole = sum(p.numel() for p in model.parameters())

    def one_pass() -> Any:
        return train_pass(model, tokenizer, documents, settings, blocks=blocks)

    one_pass()
    done = one_pass()
    # The counter slows small operations down, so that it counts another pass than the timed one.
    moved = done.steps * (TRAINED * trained + FROZEN * (whole - trained))
    return Work(counted(one_pass), moved, done.seconds, done.tokens)


def main() -> None:
    args = arguments(
        __doc__,
        count={"type": int, "default": 64, "help": "documents (64)"},
        tokens={"type": int, "default": 28, "help": "tokens a document (28)"},
        sizes={"type": int, "nargs": "*", "default": [4, 16], "help": "documents a step (4 16)"},
        generate={"type": int, "default": 32, "help": "tokens decoded (32)"},
    )
    model, tokenizer = load(args.model)
    documents = questions(args.documents, tokenizer, args.count, args.count * args.tokens)
    dtype = compute_dtype("auto")
    config, blocks = model.config, model.config.num_hidden_layers
    width, inner = config.hidden_size, config.intermediate_size
    rate = linear_rate(dtype, [(512, width, width), (512, width, inner), (512, inner, width)])
    bandwidth = copy_bandwidth()
    print(f"{rate / 1e9:.0f} GFLOP/s in {dtype}, {bandwidth / 1e9:.1f} GB/s copied", flush=True)
    rows: dict[str, dict[str, float]] = {}

    def tell(name: str, work: Work) -> None:
        rows[name] = found = work.row(rate, bandwidth)
        print(
            f"{name:34} {found['seconds']:7.2f} s, at least {found['by_operations']:6.2f} by"
            f" products and {found['by_bytes']:6.2f} by bytes: {found['reached']:4.0%} reached,"
            f" {found['tokens_per_second']:,.0f} tokens/s",
            flush=True,
        )

    quarter = [*range(0, blocks, 4)][: -(-blocks // 4)]
    for size in args.sizes:
        for name, trained in (("r = 1", None), ("r = 1/4", quarter)):
            work = training(model, tokenizer, documents, trained, size)
            tell(f"training, {name}, {size} a step", work)
    rounded = rounded_copy(model, dtype)
    stored = sum(p.nbytes for p in rounded.parameters())
    some = documents[: args.count // 4]
    found = scan(rounded, tokenizer, some)
    tell(
        "scan",
        Work(counted(lambda: scan(rounded, tokenizer, some)), stored, found.seconds, found.tokens),
    )
    seconds = median_seconds(lambda: score(rounded, tokenizer, documents))
    tell("evaluation", Work(counted(lambda: score(rounded, tokenizer, documents)), stored, seconds,
                            found.tokens * len(documents) // len(some)))  # fmt: skip
    ids = torch.tensor([tokenizer(documents[0].prompt)["input_ids"]])
    told = {"do_sample": False, "min_new_tokens": args.generate, "max_new_tokens": args.generate}
    with torch.inference_mode():
        rounded.generate(ids, **told | {"min_new_tokens": 2, "max_new_tokens": 2})
        start = time.perf_counter()
        rounded.generate(ids, **told)
        seconds = time.perf_counter() - start
        operations = counted(lambda: rounded.generate(ids, **told))
    tell("decoding", Work(operations, args.generate * stored, seconds, args.generate))
    report(benchmark="roofline", rows=rows, rate=rate, bandwidth=bandwidth, dtype=str(dtype))


if __name__ == "__main__":
    main()
