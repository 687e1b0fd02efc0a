"""How much healing a trimmed model needs: accuracy after passes from the peak rate to zero.

Each row starts from the same state of a chain and trains it over so many documents by one decay
from the peak to zero (a kept checkpoint is settled by a decay each pass); what nothing was trained
on says how good it is. Where the last rows are equal, what is left of the distance to full
fine-tuning is the trimming's own.

    python benchmarks/healing.py --state results/models/MODEL/DOMAIN/trim_ours/state_30 \
        --train results/data/DOMAIN/train.jsonl --held-back results/data/DOMAIN/held_back.jsonl \
        --teacher results/models/MODEL/DOMAIN/full_ft

A state is kept by `trim.keep_checkpoints: true`.
"""

from __future__ import annotations

import argparse
import itertools
import time
from dataclasses import replace
from pathlib import Path

import torch

import trimllm
from trimllm.base import files
from trimllm.data import read_documents
from trimllm.train import TrainSettings, fine_tune
from trimllm.train.fine_tune import HeldBackScore
from trimllm.train.teacher import Teacher


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--state", type=Path, required=True, help="folder of a chain's state")
    parser.add_argument("--train", type=Path, required=True, help="documents to train on")
    parser.add_argument("--held-back", type=Path, required=True, help="documents that judge")
    parser.add_argument("--teacher", type=Path, help="checkpoint that teaches")
    parser.add_argument("--hidden", type=float, nargs="+", help="weights of the hidden states")
    parser.add_argument("--documents", type=int, default=1280, help="documents of a pass")
    parser.add_argument("--passes", type=int, nargs="+", default=[1, 2, 4, 8], help="one row each")
    args = parser.parse_args()
    torch.set_num_threads(1)
    epoch = files.read_json(args.state / "epoch.json")
    settled = replace(TrainSettings(**epoch["settings"]), schedule="chain")
    train, held_back = read_documents(args.train), read_documents(args.held_back)
    weights = args.hidden or [settled.hidden]
    if (settled.taught or any(weights)) != bool(args.teacher):
        parser.error(f"{args.state} learns {'' if settled.taught else 'not '}from a teacher")
    teacher = None
    if args.teacher:
        every = any(weights)
        teacher = Teacher.of(*trimllm.load(args.teacher), train, every_token=every)
    print(f"{args.state}: {len(held_back)} documents held back")
    told = ("hidden", "passes", "documents", "tokens", "seconds", "accuracy, %", "nats")
    print(f"| {' | '.join(told)} |\n|{'---|' * len(told)}", flush=True)
    for hidden, passes in [(weights[0], 0), *itertools.product(weights, args.passes)]:
        settings = replace(settled, hidden=hidden)
        model, tokenizer = trimllm.load(args.state)
        start, tokens, seen = time.perf_counter(), 0, 0
        if passes:
            found = fine_tune(
                model,
                tokenizer,
                train=train,
                settings=settings,
                epochs=passes,
                documents=args.documents,
                trainable=epoch["trainable_blocks"],
                teacher=teacher,
            )
            tokens = sum(one["tokens"] for one in found["passes"])
            seen = sum(one["documents"] for one in found["passes"])
        seconds = time.perf_counter() - start
        score = HeldBackScore.of(model, tokenizer, held_back, settings.dtype)
        row = f"{seen} | {tokens} | {seconds:.0f} | {score.accuracy:.1f} | {score.likelihood:.3f}"
        print(f"| {hidden:g} | {passes} | {row} |", flush=True)


if __name__ == "__main__":
    main()
