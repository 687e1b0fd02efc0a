"""What a model's choice owes to the length of answers: accuracy by its rank, and by other scores.

An answer's score is the sum of its tokens' log-likelihoods, as by `acc` of lm-evaluation-harness,
and falls with every token. Where the answers to a question differ in length, short ones win by that
alone. A row tells accuracy where the right answer is the shortest of its choices (in characters) to
where it is the longest, and what the same model would get by the score divided by the answer's
characters (the harness's `acc_norm`) or tokens.

    python benchmarks/answer_lengths.py --tests results/data/DOMAIN/tests/TASK.jsonl \
        results/models/MODEL/base/pretrained results/models/MODEL/DOMAIN/full_ft \
        results/models/MODEL/DOMAIN/trim_ours/drop_30
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path
from statistics import fmean

import torch

import trimllm
from trimllm.base.precision import compute_dtype, round_weights_
from trimllm.data import Document, read_documents
from trimllm.score import rendered, score


def rank(document: Document) -> int:
    """How many of its choices are shorter than the right one; of equals the earlier ones."""
    lengths = [len(choice) for choice in document.choices]
    return sorted(range(len(lengths)), key=lengths.__getitem__).index(document.answer)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("checkpoints", type=Path, nargs="+")
    parser.add_argument("--tests", type=Path, required=True, help="documents with choices")
    args = parser.parse_args()
    torch.set_num_threads(1)
    documents = read_documents(args.tests)
    most = max(len(document.choices) for document in documents)
    ranks = ["shortest", *map(str, range(2, most)), "longest"]
    told = ("checkpoint", *ranks, "all", "by characters", "by tokens")
    print(f"{args.tests}: {len(documents)} documents, % right\n| {' | '.join(told)} |")
    print(f"|{'---|' * len(told)}")
    for path in args.checkpoints:
        model, tokenizer = trimllm.load(path)
        round_weights_(model, compute_dtype("auto", "cpu"))
        found = score(model, tokenizer, [rendered(tokenizer, one) for one in documents])
        right: dict[str | int, list[bool]] = defaultdict(list)
        for document, scored in zip(documents, found, strict=True):
            scores = scored.log_likelihoods
            over = {"all": (1,) * len(scores), "tokens": scored.tokens}
            over["characters"] = tuple(map(len, document.choices))
            for name, lengths in over.items():
                by = [each / length for each, length in zip(scores, lengths, strict=True)]
                right[name].append(by.index(max(by)) == document.answer)
            right[rank(document)].append(right["all"][-1])
        keys = (*range(most), "all", "characters", "tokens")
        print(
            f"| {path} | {' | '.join(f'{100 * fmean(right[key]):.1f}' for key in keys)} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
