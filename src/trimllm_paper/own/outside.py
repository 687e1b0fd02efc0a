"""What a checkpoint says of a few held-back documents, and how well it still knows other text.

The other text is `neutral.txt`: plain English of everyday things, a paragraph a subject, written
for this. It is at hand without a network, nobody's domain, and, unlike a famous text, no model has
learned it by heart: what specializing costs shows as perplexity.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from trimllm.data import Document
from trimllm.score import row_of, score

SHOWN = 20
"""Held-back documents in a report."""
TEXT = Path(__file__).with_name("neutral.txt")


def paragraphs() -> list[Document]:
    """The neutral text, a document a paragraph: its first sentence is given, the rest is scored."""
    found = []
    for text in TEXT.read_text(encoding="utf-8").strip().split("\n\n"):
        first, _, rest = text.replace("\n", " ").partition(". ")
        found.append(Document(f"{first}.", (f" {rest}",), 0))
    return found


def perplexity(model: nn.Module, tokenizer: Any) -> tuple[float, int]:
    """Perplexity of the neutral text, e to the mean loss of a token, and its tokens."""
    documents = paragraphs()
    nats = -sum(one.log_likelihoods[0] for one in score(model, tokenizer, documents))
    tokens = sum(len(row_of(tokenizer, one).choices[0]) for one in documents)
    return math.exp(min(nats / tokens, 700.0)), tokens


def answers(model: nn.Module, tokenizer: Any, documents: Sequence[Document]) -> dict[str, Any]:
    """Fields of `choices.Answers`: which choice the model takes of each document, and perplexity.

    Args:
        model: rounded as it is evaluated.
        documents: multiple-choice ones.
    """
    picked = [one.best for one in score(model, tokenizer, documents)]
    found, tokens = perplexity(model, tokenizer)
    return {
        "documents": [
            {**document.as_dict(), "picked": best}
            for document, best in zip(documents, picked, strict=True)
        ],
        "perplexity": found,
        "tokens": tokens,
    }
