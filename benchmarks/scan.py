"""The one-pass scan against dropping each unit in turn and asking lm-eval's own HFLM.

Prints, in one run: whether accuracies and the chosen unit are the same, seconds of both ways, the
ratio, and the share of the machine's own matrix-product rate that the scan reaches. The loop over
units is long: `--sample` times a few of its units and scales up (their costs are equal).

    python benchmarks/scan.py --dtype float32
"""

from __future__ import annotations

import copy
import time

import torch
from common import arguments, linear_rate, load, questions, report
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

from trimllm.data import Document
from trimllm.scanning import scan
from trimllm.select import choose
from trimllm.sublayers import drop, units


def harness_accuracy(
    model: torch.nn.Module, tokenizer: object, documents: list[Document], batch_size: int
) -> int:
    """Documents that lm-eval's HFLM answers right."""
    harness = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=batch_size)
    requests = [
        Instance("loglikelihood", {}, (document.prompt, choice), number)
        for document in documents
        for number, choice in enumerate(document.choices)
    ]
    found = iter(harness.loglikelihood(requests, disable_tqdm=True))
    right = 0
    for document in documents:
        values = [next(found)[0] for _ in document.choices]
        right += max(range(len(values)), key=values.__getitem__) == document.answer
    return right


def main() -> None:
    args = arguments(
        __doc__,
        dtype={"default": "float32", "choices": ["float32", "bfloat16"]},
        count={"type": int, "default": 16, "help": "documents (16)"},
        tokens={"type": int, "default": 420, "help": "packed tokens in all (420)"},
        sample={"type": int, "default": 0, "help": "time only so many units of the loop (0: all)"},
        repeats={"type": int, "default": 3, "help": "runs of the scan, the median counts (3)"},
    )
    dtype = getattr(torch, args.dtype)
    model, tokenizer = load(args.model, dtype)
    documents = questions(args.documents, tokenizer, args.count, args.tokens)
    scan(model, tokenizer, documents[:2])
    runs = [scan(model, tokenizer, documents) for _ in range(args.repeats)]
    found = sorted(runs, key=lambda run: run.seconds)[len(runs) // 2]
    c = model.config
    shapes = [(1024, c.hidden_size, c.hidden_size), (1024, c.hidden_size, c.intermediate_size)]
    shapes += [(1024, c.intermediate_size, c.hidden_size)]
    machine = linear_rate(dtype, shapes)
    rate = found.operations / found.seconds
    print(
        f"scan: {len(units(model))} units, {len(documents)} documents, {found.tokens} packed"
        f" tokens: {found.seconds:.1f} s, {found.operations / 1e12:.2f} TFLOP,"
        f" {rate / 1e9:.0f} GFLOP/s: {rate / machine:.0%} of"
        f" torch.nn.Linear's {machine / 1e9:.0f}",
        flush=True,
    )
    result = {"scan_seconds": found.seconds, "share_of_linear": rate / machine}
    everything = units(model)
    sampled = everything[:: max(1, len(everything) // args.sample)] if args.sample else everything
    for batch_size in (8, 1):
        seconds, same = 0.0, 0
        right = {}
        for unit in sampled:
            trimmed = drop(copy.deepcopy(model), [unit])
            start = time.perf_counter()
            right[unit] = harness_accuracy(trimmed, tokenizer, documents, batch_size)
            seconds += time.perf_counter() - start
            same += 100 * right[unit] / len(documents) == found.sublayers[unit].accuracy
        seconds *= len(everything) / len(sampled)
        ratio = seconds / found.seconds
        result[f"times_batch_{batch_size}"] = ratio
        chosen = choose(found, "calibration", 1).dropped[0]
        agrees = max(right, key=right.get) == chosen if not args.sample else None
        result[f"same_choice_batch_{batch_size}"] = agrees
        print(
            f"loop over HFLM, batch {batch_size}: {seconds:.1f} s, the scan is {ratio:.1f} times as"
            f" fast; same accuracy for {same} of {len(sampled)} units; same unit chosen: {agrees}",
            flush=True,
        )
    report(benchmark="scan", dtype=args.dtype, documents=len(documents), **result)


if __name__ == "__main__":
    main()
