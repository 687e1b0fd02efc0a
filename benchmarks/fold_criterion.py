"""Whether units are better chosen by what is left of a model when their fold is in.

Nothing is trained. From one model chains drop as many units an epoch and fold each away
(`trimllm.fold`). One chooses by the likelihood without a unit, as a scan tells it; the others by
the likelihood without it and with its compensation, of which each candidate needs one of its own:
on the documents that this was fitted to, or on as many others. A row an epoch: seconds of choosing,
what the documents that nothing saw are answered.

    python benchmarks/fold_criterion.py --model results/models/MODEL/DOMAIN/full_ft \\
        --calibration results/data/DOMAIN/calibration.jsonl \\
        --tests results/data/DOMAIN/tests/TASK.jsonl
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn

import trimllm
from trimllm.data import Document, read_documents
from trimllm.fold import fold
from trimllm.scanning import scan
from trimllm.scanning.sample import sample_of
from trimllm.select import choose
from trimllm.sublayers import Unit, units
from trimllm.train.fine_tune import HeldBackScore

DTYPE = "bfloat16"


def by_scan(model: nn.Module, tokenizer: Any, sample: list[Document], step: int) -> list[Unit]:
    """Units whose loss costs the least likelihood."""
    return list(choose(scan(model, tokenizer, sample, dtype=DTYPE), "likelihood", step).dropped)


def by_fold(
    model: nn.Module, tokenizer: Any, sample: list[Document], judges: list[Document], step: int
) -> list[Unit]:
    """Units whose loss costs the judges' likelihood least once they are folded away."""
    left = {}
    for unit in units(model):
        without = copy.deepcopy(model)
        fold(without, tokenizer, [unit], sample)
        left[unit] = HeldBackScore.of(without, tokenizer, judges, DTYPE).likelihood
    return sorted(left, key=lambda unit: -left[unit])[:step]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", type=Path, required=True, help="checkpoint to start from")
    parser.add_argument("--calibration", type=Path, required=True, help="documents to choose by")
    parser.add_argument("--tests", type=Path, required=True, help="documents that judge")
    parser.add_argument("--scanned", type=int, default=32, help="calibration documents an epoch")
    parser.add_argument("--step", type=int, default=6, help="units an epoch")
    parser.add_argument("--epochs", type=int, default=5, help="epochs")
    parser.add_argument("--seed", type=int, default=0, help="of the calibration documents")
    parser.add_argument("--out", type=Path, help="file of JSON lines that rows are added to")
    args = parser.parse_args()
    torch.set_num_threads(1)
    calibration, tests = read_documents(args.calibration), read_documents(args.tests)
    print(f"{args.model}: {len(tests)} tests, {args.scanned} documents a choice")
    print("| chosen | dropped | seconds of choosing | accuracy | nats |\n|---|---|---|---|---|")
    for name in ("scan", "fold, its own documents", "fold, other documents"):
        model, tokenizer = trimllm.load(args.model)
        for epoch in range(1, args.epochs + 1):
            sample = sample_of(calibration, args.scanned, args.seed, epoch)
            rest = [one for one in calibration if one not in sample]
            others = sample_of(rest, args.scanned, args.seed, epoch)
            start = time.perf_counter()
            if name == "scan":
                gone = by_scan(model, tokenizer, sample, args.step)
            else:
                judges = others if "other" in name else sample
                gone = by_fold(model, tokenizer, sample, judges, args.step)
            seconds = time.perf_counter() - start
            fold(model, tokenizer, gone, sample)
            found = HeldBackScore.of(model, tokenizer, tests, DTYPE)
            row = (args.step * epoch, round(seconds, 1), found.accuracy, round(found.likelihood, 3))
            print(f"| {name} | {' | '.join(map(str, row))} |", flush=True)
            if args.out:
                told = dict(zip(("dropped", "seconds", "accuracy", "likelihood"), row, strict=True))
                told |= {"domain": args.model.parent.name, "chosen": name, "seed": args.seed}
                told |= {"units": [[unit.block, unit.kind] for unit in gone]}
                with args.out.open("a", encoding="utf-8") as stream:
                    stream.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main()
