"""The one-pass scan against dropping each sublayer in turn and evaluating with lm-eval's HFLM.

Prints seconds of both, their ratio, and for how many sublayers accuracies agree. The loop is long:
`--sample` times a few sublayers and scales up (their costs are equal).

    python benchmarks/scan.py --dtype float32
"""

import argparse
import copy
import statistics
import time

import torch
from lm_eval.models.huggingface import HFLM

import trimllm
from trimllm.data import read_documents
from trimllm.evaluate.run import samples_of


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
            harness = HFLM(pretrained=trimmed, tokenizer=tokenizer, batch_size=batch_size)
            samples = samples_of(harness, "documents", documents)
            accuracy[unit] = 100 * sum(sample["acc"] for sample in samples) / len(documents)
        loop = (time.perf_counter() - start) * len(every) / len(sampled)
        same = sum(accuracy[unit] == scan.sublayers[unit].accuracy for unit in sampled)
        print(
            f"loop over HFLM, batch {batch_size}: {loop:.1f} s, the scan is {loop / seconds:.1f} "
            f"times as fast; same accuracy for {same} of {len(sampled)} sublayers",
            flush=True,
        )


if __name__ == "__main__":
    main()
