"""How much healing a trimmed model needs: accuracy after passes from the peak rate to zero.

Each row starts from the same state of a chain and trains it over so many documents by one decay
from the peak to zero (a kept checkpoint is settled by a decay each pass); what nothing was trained
on says how good it is. Where the last rows are equal, what is left of the distance to full
fine-tuning is the trimming's own.

    python benchmarks/healing.py --state results/models/MODEL/DOMAIN/trim_ours/state_30 \
        --train results/data/DOMAIN/train.jsonl --held-back results/data/DOMAIN/held_back.jsonl \
        --teacher results/models/MODEL/DOMAIN/full_ft

A state is kept by `trim.keep_checkpoints: true`. The first row is of the checkpoint that `--full`
names, or of the teacher. With `--out` every row is added to a file of JSON lines, which
`benchmarks/healing_curve.py` draws. With `--each` every pass of one run is a row: twice,
by documents held back and by others, that shows what the first say of the second.
"""

from __future__ import annotations

import argparse
import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

import trimllm
from trimllm.base import files
from trimllm.data import read_documents
from trimllm.train import TrainSettings, fine_tune
from trimllm.train.fine_tune import HeldBackScore
from trimllm.train.teacher import Teacher

COLUMNS = ("hidden", "passes", "documents", "tokens", "seconds", "accuracy", "nats")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--state", type=Path, required=True, help="folder of a chain's state")
    parser.add_argument("--train", type=Path, required=True, help="documents to train on")
    parser.add_argument("--held-back", type=Path, required=True, help="documents that judge")
    parser.add_argument("--teacher", type=Path, help="checkpoint that teaches")
    parser.add_argument("--full", type=Path, help="checkpoint to compare with (the teacher)")
    parser.add_argument("--hidden", type=float, nargs="+", help="weights of the hidden states")
    parser.add_argument("--rate", type=float, help="peak learning rate (the chain's)")
    parser.add_argument(
        "--schedule", choices=("chain", "epoch"), default="chain", help="one decay, or one a pass"
    )
    parser.add_argument("--documents", type=int, default=1280, help="documents of a pass")
    parser.add_argument("--passes", type=int, nargs="+", default=[1, 2, 4, 8], help="one row each")
    parser.add_argument("--each", action="store_true", help="a row after each pass of one run")
    parser.add_argument("--out", type=Path, help="file of JSON lines that rows are added to")
    args = parser.parse_args()
    if args.each and (args.schedule != "epoch" or len(args.passes) > 1):
        parser.error("--each goes with --schedule epoch and one number of --passes")
    torch.set_num_threads(1)
    epoch = files.read_json(args.state / "epoch.json")
    settled = replace(TrainSettings(**epoch["settings"]), schedule=args.schedule)
    if args.rate:
        settled = replace(settled, learning_rate=args.rate)
    train, held_back = read_documents(args.train), read_documents(args.held_back)
    weights = args.hidden or [settled.hidden]
    if (settled.needs_teacher or any(weights)) != bool(args.teacher):
        parser.error(f"{args.state} learns {'' if settled.needs_teacher else 'not '}from a teacher")
    teacher = None
    if args.teacher:
        every = any(weights)
        teacher = Teacher.of(*trimllm.load(args.teacher), train, every_token=every)
    print(f"{args.state}: {len(held_back)} documents held back")
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}", flush=True)

    def row(recipe: str, score: HeldBackScore, *spent: float) -> None:
        """Tell a score, and what was spent on the model: the columns before its accuracy."""
        values = (*spent, score.accuracy or 0.0, score.likelihood)
        print("|", " | ".join(f"{value:g}" for value in values), "|", flush=True)
        if args.out:
            told = {key: epoch[key] for key in ("model", "domain", "criterion")}
            told |= {"recipe": recipe, "learning_rate": settled.learning_rate}
            told |= {"schedule": settled.schedule}
            told |= {"scored": len(held_back), **dict(zip(COLUMNS, values, strict=True))}
            with args.out.open("a", encoding="utf-8") as lines:
                print(json.dumps(told), file=lines)

    def scored(model: Any, tokenizer: Any) -> HeldBackScore:
        return HeldBackScore.of(model, tokenizer, held_back, settled.dtype)

    if full := args.full or args.teacher:
        row(full.name, scored(*trimllm.load(full)), *(0,) * 5)
    for hidden, passes in [(weights[0], 0), *itertools.product(weights, args.passes)]:
        settings = replace(settled, hidden=hidden)
        model, tokenizer = trimllm.load(args.state)
        done, scores = [], []
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
                held_back=held_back if args.each else (),
                patience=passes,
            )
            done, scores = found["passes"], [HeldBackScore(**one) for one in found["held_back"]]
        for last, score in list(enumerate(scores, 1)) or [(passes, scored(model, tokenizer))]:
            seen, tokens, seconds = (sum(one[key] for one in done[:last]) for key in COLUMNS[2:5])
            row(epoch["recipe"], score, hidden, last, seen, tokens, round(seconds))


if __name__ == "__main__":
    main()
