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

import torch
from torch import nn

from trimllm.data import Document, all_free
from trimllm.score import rendered, row_of, score
from trimllm.score.encode import encode_document
from trimllm.sublayers import device_of

LONGEST = 96
"""Tokens of a free answer in a report."""
SHOWN = 20
"""Held-back documents in a report."""
TEXT = Path(__file__).with_name("neutral.txt")


def paragraphs() -> list[Document]:
    """The neutral text, a document a paragraph: its first sentence is given, the rest is scored."""
    found = []
    for text in TEXT.read_text(encoding="utf-8").strip().split("\n\n"):
        first, _, rest = text.replace("\n", " ").partition(". ")
        # Beside a second choice it is no free answer, whose end would be scored as well.
        found.append(Document(f"{first}.", (f" {rest}", " End."), 0))
    return found


def perplexity(model: nn.Module, tokenizer: Any) -> tuple[float, int]:
    """Perplexity of the neutral text, e to the mean loss of a token, and its tokens."""
    documents = paragraphs()
    nats = -sum(one.log_likelihoods[0] for one in score(model, tokenizer, documents))
    tokens = sum(len(row_of(tokenizer, one).choices[0]) for one in documents)
    return math.exp(min(nats / tokens, 700.0)), tokens


def answers(model: nn.Module, tokenizer: Any, documents: Sequence[Document]) -> dict[str, Any]:
    """Fields of `choices.Answers`: which choice the model takes of each document, or what it writes
    (greedily), and perplexity.

    Args:
        model: rounded as it is evaluated.
        documents: with choices or with free answers, all of a kind.
    """
    said = written if all_free(documents, "held back") else chosen
    found, tokens = perplexity(model, tokenizer)
    shown = said(model, tokenizer, documents)
    return {"documents": shown, "perplexity": found, "tokens": tokens}


def message(tokenizer: Any, document: Document) -> str | None:
    """What is asked last, where a document is asked as a chat."""
    return document.messages[-1][1] if document.messages and tokenizer.chat_template else None


def chosen(model: nn.Module, tokenizer: Any, documents: Sequence[Document]) -> list[dict[str, Any]]:
    """What the model takes of choices."""
    best = [one.best for one in score(model, tokenizer, documents)]
    return [
        {
            "prompt": document.prompt,
            "message": message(tokenizer, document),
            "right": document.choices[document.answer].strip(),
            "said": document.choices[picked].strip(),
            "correct": picked == document.answer,
        }
        for document, picked in zip(documents, best, strict=True)
    ]


@torch.inference_mode()
def written(
    model: nn.Module, tokenizer: Any, documents: Sequence[Document]
) -> list[dict[str, Any]]:
    """What the model writes, ended as an evaluation ends it."""
    from trimllm.evaluate.tasks import compare, ends_of  # imports lm-eval

    ends = ends_of([rendered(tokenizer, document) for document in documents])
    found = []
    for document in documents:
        prompt, (reference,) = encode_document(tokenizer, document)
        ids = torch.tensor([prompt], device=device_of(model))
        most, end = min(LONGEST, 2 * len(reference)), tokenizer.eos_token_id
        made = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=most,
            do_sample=False,
            pad_token_id=end,
        )
        text = tokenizer.decode(made[0, len(prompt) :], skip_special_tokens=True)
        for stop in ends:
            text = text.partition(stop)[0]
        right = document.choices[0].strip()
        said = compare(text, right)
        found.append(
            {
                **{"prompt": document.prompt, "message": message(tokenizer, document)},
                **{"right": right, "said": text.strip()},
                **{"correct": said["exact_match"] == 1, "f1": said["token_f1"]},
            }
        )
    return found
