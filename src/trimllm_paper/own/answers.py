"""What a checkpoint answers to a few held-back documents, and how well it still knows other text.

The other text is `neutral.txt`: plain English of everyday things, a paragraph a subject, written
for this. It needs no network, is nobody's domain, and no model has learned it by heart.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from trimllm.data import Document, all_free
from trimllm.score import encode_document, rendered, score

LONGEST = 96  # tokens of a free answer in a report
SHOWN = 20  # held-back documents in a report
TEXT = Path(__file__).with_name("neutral.txt")


def answers(model: nn.Module, tokenizer: Any, documents: Sequence[Document]) -> dict[str, Any]:
    """Fields of `records.Answers`: which choice the model takes of each document, or what it writes
    as an evaluation lets it write, and perplexity of the neutral text. The model is rounded as it
    is evaluated; the documents have choices or free answers, all of a kind."""
    if all_free(documents, "held back"):
        # It imports lm-eval.
        from trimllm.evaluate.run import ANSWERS_AT_ONCE, TrimLM, compare, samples_of

        shown = [rendered(tokenizer, one) for one in documents]
        longest = max(len(encode_document(tokenizer, one).choices[0]) for one in documents)
        harness = TrimLM(pretrained=model, tokenizer=tokenizer, batch_size=ANSWERS_AT_ONCE)
        samples = samples_of(harness, "own", shown, min(LONGEST, longest))
        texts = [one["filtered_resps"][0].strip() for one in samples]
        scores = [compare(a, one.choices[0]) for a, one in zip(texts, documents, strict=True)]
        answered = [
            {"answer": text, "correct": one["exact_match"] == 1, "f1": one["token_f1"]}
            for text, one in zip(texts, scores, strict=True)
        ]
    else:
        best = [one.best for one in score(model, tokenizer, documents)]
        pairs = zip(documents, best, strict=True)
        answered = [{"answer": d.choices[i].strip(), "correct": i == d.answer} for d, i in pairs]
    for document, row in zip(documents, answered, strict=True):
        # Without a chat template a model was trained on the prompt.
        chat = tokenizer.chat_template and document.messages
        row["message"] = document.messages[-1][1] if chat else None
        row |= {"prompt": document.prompt, "right": document.choices[document.answer].strip()}
    scored = score(model, tokenizer, neutral_documents())
    tokens = sum(one.tokens[0] for one in scored)
    loss = -sum(one.log_likelihoods[0] for one in scored) / tokens
    return {"documents": answered, "perplexity": math.exp(min(loss, 700.0)), "tokens": tokens}


def neutral_documents() -> list[Document]:
    """The neutral text, a document a paragraph: its first sentence is given, the rest is scored."""
    documents = []
    for text in TEXT.read_text(encoding="utf-8").strip().split("\n\n"):
        first, _, rest = text.replace("\n", " ").partition(". ")
        # Beside a second choice it is no free answer, whose end would be scored as well.
        documents.append(Document(f"{first}.", (f" {rest}", " End."), 0))
    return documents
