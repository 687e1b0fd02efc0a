"""Constructions: how a row becomes a multiple-choice document, and what that is called.

`own` is the data set's own question and choices. The others make a question that can be learned,
and answered with few tokens, out of data whose own task cannot: a table that uses one must say so,
so each has a name in words.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from trimllm.base.errors import UserError
from trimllm.data.document import Document, normalised
from trimllm.data.rows import Row, RowError

PROMPT = "Question: {question}\nAnswer:"
CHOICE = " {choice}"
CHOICES = 4
DRAWN = {"answer": attrgetter("answer_text"), "question": attrgetter("question")}
"""Construction -> what of a row is to be chosen among the same of other rows."""


@dataclass(frozen=True)
class Item:
    """A document with what the splits need to know of it."""

    document: Document
    group: str
    """Items of one group (the same question) never stand in two splits."""
    stratum: int | None = None
    """The class, where splits must hold all classes in equal shares."""


def words(how: Mapping[str, Any]) -> str:
    """The construction in words, as a table's header states it."""
    labels, count = list(how.get("labels", ())), how.get("choices", CHOICES)
    shown = ", ".join(label.strip() for label in labels)
    return {
        "label": f"which {how.get('noun', 'subject')} a question is about, of {len(labels)}: "
        f"{shown}",
        "answer": f"choose the answer among the answers to {count - 1} other questions",
        "question": f"choose the question that a text answers, among {count}",
        "text": "the answer's text alone, to train on",
        "own": "the data set's own question and choices",
    }[how.get("kind", "own")]


def tidy(question: str, how: Mapping[str, Any]) -> str:
    """Take away marks of the source that would give a class away.

    Args:
        question: as it was read.
        how: `tidy` (single spaces, capital first letter, no blank or punctuation at the end, which
            sources use differently), `min_characters` and `max_characters` (others are left out),
            and `first_characters` (cut after so many, between words).
    """
    if how.get("tidy"):
        question = re.sub(r"\s+", " ", question).strip()
        question = re.sub(r"[\s_:;.,?…]+$", "", question)
        question = question[:1].upper() + question[1:]
    if len(question) > how.get("max_characters", float("inf")):
        raise RowError("too long")
    if len(question) < how.get("min_characters", 1):
        raise RowError("too short")
    limit = how.get("first_characters", len(question))
    if len(question) > limit:
        cut = question[: limit + 1].rsplit(None, 1)
        question = cut[0] if len(cut) > 1 else question[:limit]
    return question


def construct(rows: Sequence[Row], how: Mapping[str, Any], rng: random.Random) -> list[Item | str]:
    """Make a document of every row, or say in words why there is none.

    Args:
        rows: parsed rows.
        how: `construct` (kind and its settings), `question`, `prompt`, `choice`, `max_characters`
            of a set in the domain's YAML.
        rng: draws the choices of `answer` and `question`, and their order.
    """
    rules = how.get("construct", {})
    pool: list[str] = []
    if drawn := DRAWN.get(rules.get("kind")):
        # sorted, so that a seed draws the same ones again
        pool, count = sorted({drawn(row) for row in rows} - {""}), rules.get("choices", CHOICES)
        if len(pool) < count:
            raise UserError(f"{len(pool)} different texts are too few for {count} choices")
    made: list[Item | str] = []
    for row in rows:
        try:
            texts, answer, stratum = _choices(row, rules, pool, rng)
            question = tidy(row.question, how.get("question", {}))
            shown = how.get("prompt", PROMPT).format(
                question=question, context=row.context, answer=row.answer_text
            )
            choices = tuple(how.get("choice", CHOICE).format(choice=text) for text in texts)
            if len(shown) + sum(map(len, choices)) > how.get("max_characters", float("inf")):
                raise RowError("too long")
            made.append(Item(Document(shown, choices, answer), normalised(question), stratum))
        except ValueError as reason:  # a `RowError` among them
            made.append(str(reason))
    return made


def _choices(
    row: Row, rules: Mapping[str, Any], pool: list[str], rng: random.Random
) -> tuple[Sequence[str], int, int | None]:
    """Texts of the choices, index of the right one, and the class where there are classes."""
    kind = rules.get("kind", "own")
    if kind == "own":
        if row.answer is None or len(row.choices) < 2:
            raise RowError("no choices")
        return row.choices, row.answer, None
    if kind == "text":
        return (row.answer_text,), 0, None
    if kind == "label":
        values = [str(value) for value in rules["labels"].values()]
        if row.label not in values:
            raise RowError("another class")
        index = values.index(row.label)
        return list(rules["labels"]), index, index
    right = DRAWN[kind](row)
    if not right:
        raise RowError("no text")
    count = rules.get("choices", CHOICES)
    others = rng.sample(pool, count)
    wrong = [text for text in others if normalised(text) != normalised(right)]
    texts = [right, *wrong[: count - 1]]
    rng.shuffle(texts)
    return texts, texts.index(right), None
