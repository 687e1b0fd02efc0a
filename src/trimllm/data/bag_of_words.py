"""What the words alone give away: a task that a bag of words solves shows little about a model.

Logistic regression on tf-idf features (scikit-learn), fitted to the documents that the model trains
on. Where the same few answers are right again and again (classes), it tells them by the
prompt, among the choices that are offered; else it scores each prompt with each choice.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from trimllm.data.document import Document, normalised

MOST = 4_000
"""Training documents that are looked at, the first ones: more take minutes and change little."""
REPEATED = 5
"""Documents a right answer, on average, from which on answers are classes."""


def accuracy(train: Sequence[Document], test: Sequence[Document]) -> float | None:
    """Percent of the test documents that a bag of words answers rightly.

    None where answers are free, or where training documents always show the same right one.
    """
    train = train[:MOST]
    right = [_choice(document, document.answer) for document in train]
    classes = set(right)
    if any(document.free for document in (*train, *test)) or len(classes) < 2:
        return None
    scores = _by_class if REPEATED * len(classes) <= len(train) else _by_pair
    found = iter(scores(train, right, test))
    best = [int(np.argmax([next(found) for _ in document.choices])) for document in test]
    hits = sum(document.answer == index for document, index in zip(test, best, strict=True))
    return round(100 * hits / len(test), 2)


def _choice(document: Document, index: int) -> str:
    return normalised(document.choices[index])


def _overlap(prompt: str, choice: str) -> float:
    """Share of the choice's words that stand in the prompt."""
    words = set(re.findall(r"\w+", choice.lower()))
    return len(words & set(re.findall(r"\w+", prompt.lower()))) / max(1, len(words))


def _by_class(
    train: Sequence[Document], right: Sequence[str], test: Sequence[Document]
) -> list[float]:
    """Probability of every choice of every test document as the class of its prompt."""
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    parts = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True)
    asked, shown = ([document.prompt for document in part] for part in (train, test))
    seen = sparse.hstack([one.fit_transform(asked) for one in (words, parts)]).tocsr()
    new = sparse.hstack([one.transform(shown) for one in (words, parts)]).tocsr()
    model = LogisticRegression(C=10, max_iter=1000).fit(seen, right)
    at = {name: column for column, name in enumerate(model.classes_)}
    every = model.predict_proba(new)
    return [
        every[row, at[name]] if (name := _choice(document, index)) in at else -1.0
        for row, document in enumerate(test)
        for index in range(len(document.choices))
    ]


def _by_pair(
    train: Sequence[Document], _: Sequence[str], test: Sequence[Document]
) -> Sequence[float]:
    """Score of every choice of every test document: words, overlap and length of the pair."""
    pairs = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    pairs.fit([document.prompt + choice for document in train for choice in document.choices])
    words = TfidfVectorizer(sublinear_tf=True)
    words.fit([choice for document in train for choice in document.choices])

    def features(documents: Sequence[Document]) -> sparse.csr_matrix:
        rows = [(one.prompt, choice) for one in documents for choice in one.choices]
        whole = pairs.transform([prompt + choice for prompt, choice in rows])
        alone = words.transform([choice for _, choice in rows])
        plain = [[_overlap(prompt, choice), len(choice) / 50] for prompt, choice in rows]
        return sparse.hstack([whole, alone, sparse.csr_matrix(plain)]).tocsr()

    right = [index == one.answer for one in train for index in range(len(one.choices))]
    model = LogisticRegression(C=3, max_iter=1000).fit(features(train), right)
    return model.decision_function(features(test))
