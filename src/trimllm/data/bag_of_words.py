"""Accuracy of a bag of words: a task that it solves shows little about a model."""

from __future__ import annotations

import re
from collections.abc import Sequence

from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from trimllm.data.document import Document

MOST = 4_000
"""Training documents used, the first ones: more take minutes and change little."""
CLASSES = 0.2
"""A task with at most so many different right answers a document has classes as answers."""


def accuracy(train: Sequence[Document], test: Sequence[Document]) -> float | None:
    """Accuracy (%) of logistic regression on tf-idf features of the training documents.

    Classes are predicted from the prompt; other answers are scored one by one together with it.
    None for free answers, or if the same answer is right in all training documents.
    """
    train = train[:MOST]
    right = {document.choices[document.answer] for document in train}
    if any(document.free for document in (*train, *test)) or len(right) < 2:
        return None
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"\S+")
    model = make_pipeline(words, LogisticRegression(C=10, max_iter=1000))
    if len(right) <= CLASSES * len(train):
        model.fit([one.prompt for one in train], [one.choices[one.answer] for one in train])
        column = {choice: index for index, choice in enumerate(model.classes_)}
        rows = zip(test, model.predict_proba([one.prompt for one in test]), strict=True)
        scores = [[row[column[c]] if c in column else -1 for c in one.choices] for one, row in rows]
    else:
        texts = [_pair(one, choice) for one in train for choice in one.choices]
        model.fit(texts, [i == one.answer for one in train for i in range(len(one.choices))])
        pairs = ([_pair(one, choice) for choice in one.choices] for one in test)
        scores = [model.decision_function(texts).tolist() for texts in pairs]
    hits = sum(one.answer == row.index(max(row)) for one, row in zip(test, scores, strict=True))
    return round(100 * hits / len(test), 2)


def _pair(document: Document, choice: str) -> str:
    """Words of a prompt and a choice, and features for their overlap and the choice's length."""
    prompt, words = (re.findall(r"\w+", text.lower()) for text in (document.prompt, choice))
    shared = len({*words} & {*prompt}) / max(1, len({*words}))
    return " ".join((*prompt, *words, f"overlap={round(4 * shared)}", f"words={len(words) // 4}"))
