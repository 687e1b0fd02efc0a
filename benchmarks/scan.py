"""The one-pass scan against dropping each sublayer in turn and asking lm-eval's own HFLM.

Prints whether accuracies and the chosen sublayer are the same, seconds of both, their ratio, and
the share of the machine's own matrix-product rate that the scan reaches. The loop is long:
`--sample` times a few sublayers and scales up (their costs are equal).

    python benchmarks/scan.py --dtype float32
"""

from __future__ import annotations

import copy
import statistics
import time

import torch
from common import arguments, linear_rate, load, questions, report
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from torch.utils.flop_counter import FlopCounterMode

from trimllm.data import Document
from trimllm.scanning import scan
from trimllm.select import choose
from trimllm.sublayers import drop, units


def harness_accuracy(
    model: torch.nn.Module, tokenizer: object, documents: list[Document], batch_size: int
) -> float:
    """Accuracy in % by lm-eval's HFLM."""
    harness = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=batch_size)
    requests = [
        Instance("loglikelihood", {}, (document.prompt, choice), number)
        for document in documents
        for number, choice in enumerate(document.choices)
    ]
    answers = iter(harness.loglikelihood(requests, disable_tqdm=True))
    right = 0
    for document in documents:
        values = [next(answers)[0] for _ in document.choices]
        right += max(range(len(values)), key=values.__getitem__) == document.answer
    return 100 * right / len(documents)


def main() -> None:
    args = arguments(
        __doc__,
        dtype={"default": "float32", "choices": ["float32", "bfloat16"]},
        count={"type": int, "default": 16, "help": "documents (16)"},
        tokens={"type": int, "default": 420, "help": "packed tokens in all (420)"},
        sample={"type": int, "default": 0, "help": "sublayers of the loop to time (0: all)"},
        repeats={"type": int, "default": 3, "help": "runs of the scan, the median counts (3)"},
    )
    dtype = getattr(torch, args.dtype)
    model, tokenizer = load(args.model, dtype)
    documents = questions(args.documents, tokenizer, args.count, args.tokens)
    with FlopCounterMode(display=False) as counter:
        result = scan(model, tokenizer, documents)
    seconds = statistics.median(
        scan(model, tokenizer, documents).seconds for _ in range(args.repeats)
    )
    c = model.config
    shapes = [(1024, c.hidden_size, c.hidden_size), (1024, c.hidden_size, c.intermediate_size)]
    machine = linear_rate(dtype, [*shapes, (1024, c.intermediate_size, c.hidden_size)])
    share = counter.get_total_flops() / seconds / machine
    every = units(model)
    print(
        f"scan: {len(every)} sublayers, {len(documents)} documents, {result.tokens} packed tokens:"
        f" {seconds:.1f} s, {share:.0%} of torch.nn.Linear's {machine / 1e9:.0f} GFLOP/s",
        flush=True,
    )
    facts = {"scan_seconds": seconds, "share_of_linear": share}
    sampled = every[:: max(1, len(every) // args.sample)] if args.sample else every
    chosen = choose(result, "calibration", 1).dropped[0]
    for batch_size in (8, 1):
        accuracy, start = {}, time.perf_counter()
        for unit in sampled:
            trimmed = drop(copy.deepcopy(model), [unit])
            accuracy[unit] = harness_accuracy(trimmed, tokenizer, documents, batch_size)
        loop = (time.perf_counter() - start) * len(every) / len(sampled)
        same = sum(accuracy[unit] == result.sublayers[unit].accuracy for unit in sampled)
        agrees = max(accuracy, key=accuracy.get) == chosen if not args.sample else None
        facts[f"times_batch_{batch_size}"] = loop / seconds
        facts[f"same_choice_batch_{batch_size}"] = agrees
        print(
            f"loop over HFLM, batch {batch_size}: {loop:.1f} s, the scan is {loop / seconds:.1f}"
            f" times as fast; same accuracy for {same} of {len(sampled)} sublayers; same sublayer"
            f" chosen: {agrees}",
            flush=True,
        )
    report(benchmark="scan", dtype=args.dtype, documents=len(documents), **facts)


if __name__ == "__main__":
    main()
