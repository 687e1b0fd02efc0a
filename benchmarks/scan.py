"""The one-pass scan against dropping each sublayer in turn and evaluating with lm-eval's HFLM.

Prints seconds of both, their ratio, and for how many sublayers accuracies agree. The loop is long:
`--sample` times a few sublayers and scales up (their costs are equal).

    python benchmarks/scan.py --dtype float32
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from typing import Any

import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

import trimllm
from trimllm.data import Document, read_documents


def harness_accuracy(
    model: torch.nn.Module, tokenizer: Any, documents: list[Document], batch_size: int
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
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="results/models/smollm2-135m/base/pretrained")
    parser.add_argument("--documents", default="results/data/sciq/train.jsonl")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--count", type=int, default=16, help="documents (16)")
    parser.add_argument("--sample", type=int, default=0, help="sublayers of the loop (0: all)")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    model, tokenizer = trimllm.load(args.model, dtype=getattr(torch, args.dtype))
    documents = read_documents(args.documents)[: args.count]
    scans = [trimllm.scan(model, tokenizer, documents) for _ in range(4)]
    seconds = statistics.median(scan.seconds for scan in scans[1:])
    scan, every = scans[-1], trimllm.units(model)
    print(f"scan: {len(every)} sublayers, {len(documents)} documents: {seconds:.1f} s", flush=True)
    sampled = every[:: max(1, len(every) // args.sample)] if args.sample else every
    for batch_size in (8, 1):
        accuracy, start = {}, time.perf_counter()
        for unit in sampled:
            trimmed = trimllm.drop(copy.deepcopy(model), [unit])
            accuracy[unit] = harness_accuracy(trimmed, tokenizer, documents, batch_size)
        loop = (time.perf_counter() - start) * len(every) / len(sampled)
        same = sum(accuracy[unit] == scan.sublayers[unit].accuracy for unit in sampled)
        print(
            f"loop over HFLM, batch {batch_size}: {loop:.1f} s, the scan is {loop / seconds:.1f} "
            f"times as fast; same accuracy for {same} of {len(sampled)} sublayers",
            flush=True,
        )


if __name__ == "__main__":
    main()
