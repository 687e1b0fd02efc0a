"""What a checkpoint answers to a few held-back documents, and how well it still knows other text.

The other text is `neutral.txt`: plain English of everyday things, a paragraph a subject, written
for this. It needs no network, is nobody's domain, and, unlike a famous text, no model has learned
it by heart: what specializing costs shows as perplexity.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from trimllm.data import Document, all_free
from trimllm.score import encode_document, rendered, score
from trimllm.sublayers import device_of

LONGEST = 96
"""Tokens of a free answer in a report."""
SHOWN = 20
"""Held-back documents in a report."""
TEXT = Path(__file__).with_name("neutral.txt")


def neutral_documents() -> list[Document]:
    """The neutral text, a document a paragraph: its first sentence is given, the rest is scored."""
    documents = []
    for text in TEXT.read_text(encoding="utf-8").strip().split("\n\n"):
        first, _, rest = text.replace("\n", " ").partition(". ")
        # Beside a second choice it is no free answer, whose end would be scored as well.
        documents.append(Document(f"{first}.", (f" {rest}", " End."), 0))
    return documents


def perplexity(model: nn.Module, tokenizer: Any) -> tuple[float, int]:
    """Perplexity of the neutral text, e to the mean loss of a token, and its tokens."""
    documents = neutral_documents()
    nats = -sum(one.log_likelihoods[0] for one in score(model, tokenizer, documents))
    tokens = sum(len(encode_document(tokenizer, one).choices[0]) for one in documents)
    return math.exp(min(nats / tokens, 700.0)), tokens


def answers(model: nn.Module, tokenizer: Any, documents: Sequence[Document]) -> dict[str, Any]:
    """Fields of `records.Answers`: which choice the model takes of each document, or what it writes
    (greedily), and perplexity.

    Args:
        model: rounded as it is evaluated.
        documents: with choices or with free answers, all of a kind.
    """
    free = all_free(documents, "held back")
    given = _written(model, tokenizer, documents) if free else _chosen(model, tokenizer, documents)
    rows = [
        {
            "prompt": document.prompt,
            "message": message(tokenizer, document),
            "right": document.choices[document.answer].strip(),
            **answer,
        }
        for document, answer in zip(documents, given, strict=True)
    ]
    value, tokens = perplexity(model, tokenizer)
    return {"documents": rows, "perplexity": value, "tokens": tokens}


def message(tokenizer: Any, document: Document) -> str | None:
    """The last message of a document that is a chat, if the tokenizer has a chat template."""
    return document.messages[-1][1] if document.messages and tokenizer.chat_template else None


def _chosen(
    model: nn.Module, tokenizer: Any, documents: Sequence[Document]
) -> Iterator[dict[str, Any]]:
    """The choice that the model takes of each document."""
    for document, one in zip(documents, score(model, tokenizer, documents), strict=True):
        answer = document.choices[one.best].strip()
        yield {"answer": answer, "correct": one.best == document.answer}


@torch.inference_mode()
def _written(
    model: nn.Module, tokenizer: Any, documents: Sequence[Document]
) -> Iterator[dict[str, Any]]:
    """What the model writes, ended as an evaluation ends it."""
    from trimllm.evaluate.run import compare, ends_of  # imports lm-eval

    ends = ends_of([rendered(tokenizer, document) for document in documents])
    for document in documents:
        prompt, (reference,) = encode_document(tokenizer, document)
        ids = torch.tensor([prompt], device=device_of(model))
        made = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=min(LONGEST, 2 * len(reference)),
            do_sample=False,
            pad_token_id=tokenizer.eos_token_id,
        )
        text = tokenizer.decode(made[0, len(prompt) :], skip_special_tokens=True)
        for stop in ends:
            text = text.partition(stop)[0]
        scores = compare(text, document.choices[0].strip())
        correct, f1 = scores["exact_match"] == 1, scores["token_f1"]
        yield {"answer": text.strip(), "correct": correct, "f1": f1}
