"""How much of what training computes is padding: what packing documents into rows could save.

A batch is padded to its longest document. Batches are made of documents of like length
(`trimllm.train.batching.batches_of`); beside it stands the padding of batches as they come.

    python benchmarks/padding.py results/data/*/train.jsonl
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

from common import MODEL
from more_itertools import chunked
from transformers import AutoTokenizer

from trimllm.data import read_documents
from trimllm.train.batching import Example, batches_of, documents_of_epoch, examples_of


def padded(batches: Iterator[Sequence[Example]]) -> tuple[int, int]:
    """Tokens of documents, and those that are computed for them."""
    lengths = [[len(example) - 1 for example in batch] for batch in batches]
    return sum(map(sum, lengths)), sum(max(batch) * len(batch) for batch in lengths)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("documents", type=Path, nargs="+", help="documents to train on")
    parser.add_argument("--model", default=MODEL, help=f"whose tokenizer ({MODEL})")
    parser.add_argument("--batch", type=int, default=16, help="documents a step (16)")
    parser.add_argument("--count", type=int, default=256, help="documents an epoch (256)")
    parser.add_argument("--epochs", type=int, default=10, help="epochs that are counted (10)")
    args = parser.parse_args()
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    told = ("documents", "tokens a document", "padding, %", "in batches as they come, %")
    print(f"| {' | '.join(told)} |\n|{'---|' * len(told)}")
    for path in args.documents:
        documents = read_documents(path)
        epochs = [
            examples_of(tokenizer, documents_of_epoch(documents, epoch, args.count, 0))
            for epoch in range(args.epochs)
        ]
        sorted_in = (b for n, one in enumerate(epochs) for b in batches_of(one, args.batch, 0, n))
        as_they_come = (batch for one in epochs for batch in chunked(one, args.batch))
        shares = []
        for batches in (sorted_in, as_they_come):
            tokens, computed = padded(batches)
            shares.append(f"{100 * (1 - tokens / computed):.1f}")
        length = f"{tokens / sum(map(len, epochs)):.1f}"
        print(f"| {path} | {length} | {' | '.join(shares)} |")


if __name__ == "__main__":
    main()
