"""What a checkpoint answers to a few held-back documents, and how well it still knows other text.

The other text is `neutral.txt`: plain English of everyday things, a paragraph a subject, written
for this. It needs no network, is nobody's domain, and no model has learned it by heart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
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


def answers(model: nn.Module, tokenizer: Any, documents: Sequence[Document]) -> dict[str, Any]:
    """Fields of `records.Answers`: which choice the model takes of each document, or what it writes
    (greedily), and perplexity of the neutral text.

    Args:
        model: rounded as it is evaluated.
        documents: with choices or with free answers, all of a kind.
    """
    if all_free(documents, "held back"):
        answered = written(model, tokenizer, documents)
    else:
        best = [one.best for one in score(model, tokenizer, documents)]
        answered = [
            {"answer": document.choices[index].strip(), "correct": index == document.answer}
            for document, index in zip(documents, best, strict=True)
        ]
    chat = tokenizer.chat_template
    rows = [
        {
            "prompt": document.prompt,
            # Without a chat template a model was trained on the prompt.
            "message": document.messages[-1][1] if chat and document.messages else None,
            "right": document.choices[document.answer].strip(),
            **answer,
        }
        for document, answer in zip(documents, answered, strict=True)
    ]
    value, tokens = perplexity(model, tokenizer)
    return {"documents": rows, "perplexity": value, "tokens": tokens}


@torch.inference_mode()
def written(
    model: nn.Module, tokenizer: Any, documents: Sequence[Document]
) -> list[dict[str, Any]]:
    """What the model writes, ended as an evaluation ends it."""
    from trimllm.evaluate.run import compare, ends_of  # imports lm-eval

    ends, result = ends_of([rendered(tokenizer, document) for document in documents]), []
    for document in documents:
        prompt, (reference,) = encode_document(tokenizer, document)
        ids = torch.tensor([prompt], device=device_of(model))
        output = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=min(LONGEST, 2 * len(reference)),
            do_sample=False,
            pad_token_id=tokenizer.eos_token_id,
        )
        text = tokenizer.decode(output[0, len(prompt) :], skip_special_tokens=True)
        for stop in ends:
            text = text.partition(stop)[0]
        scores = compare(text, document.choices[0])
        answer = {"answer": text.strip(), "correct": scores["exact_match"] == 1}
        result.append(answer | {"f1": scores["token_f1"]})
    return result


def perplexity(model: nn.Module, tokenizer: Any) -> tuple[float, int]:
    """Perplexity of the neutral text, e to the mean loss of a token, and its tokens."""
    scored = score(model, tokenizer, neutral_documents())
    tokens = sum(one.tokens[0] for one in scored)
    nats = -sum(one.log_likelihoods[0] for one in scored)
    return math.exp(min(nats / tokens, 700.0)), tokens


def neutral_documents() -> list[Document]:
    """The neutral text, a document a paragraph: its first sentence is given, the rest is scored."""
    documents = []
    for text in TEXT.read_text(encoding="utf-8").strip().split("\n\n"):
        first, _, rest = text.replace("\n", " ").partition(". ")
        # Beside a second choice it is no free answer, whose end would be scored as well.
        documents.append(Document(f"{first}.", (f" {rest}", " End."), 0))
    return documents
