"""Constructions: how a row becomes a document.

`own` takes the data set's own question and choices, `free` its own question and free answer,
`label` its own text and class. Further ones are given to `prepare` as `Construction`s.
"""

from __future__ import annotations

import math
import random
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from trimllm.base.errors import UserError
from trimllm.data.document import Document, bare, normalised
from trimllm.data.rows import Row, RowError

PROMPT = "Question: {question}\nAnswer:"
WITH_CONTEXT = "{context}\n" + PROMPT
CONVERSATION = "{question}\nAssistant:"
"""Prompt of a conversation of several messages, for a model without a chat template."""
CHOICE = " {choice}"
MOST_CLASSES = 100
FEWEST_OF_CLASS = 4
"""Rows of a class: one to test, one held back, one to calibrate and one to train."""
KINDS = {
    "own": "the data set's own question and choices",
    "free": "the data set's own question and free answer",
    "label": "which {noun} a question is about, {offered}",
}


class Construction(NamedTuple):
    """A construction that makes choices out of other rows.

    Attributes:
        words: what is asked, as reports state it.
        apply: (rows in drawn order, set of the domain's YAML, generator) -> each row with its
            choices, or in words why it is left out.
    """

    words: str
    apply: Callable[[Sequence[Row], Mapping[str, Any], random.Random], list[Row | str]]


@dataclass(frozen=True)
class Item:
    """A document with what the splits need to know of it."""

    document: Document
    group: str
    """Items of one group (the same question) never stand in two splits."""
    stratum: int | None = None
    """The class, where splits must hold all classes in equal shares."""
    where: str = ""
    """File and line of its row."""
    drawn: bool = False
    """Whether its wrong choices were drawn and are no part of the question."""

    def content(self, by_prompt: bool = False) -> str:
        """Equal for two items that are the same document: the prompt and, unless they were drawn,
        all choices; or the prompt alone."""
        document, by_prompt = self.document, by_prompt or self.drawn
        choices = () if by_prompt else sorted(map(normalised, document.choices))
        return "\0".join((bare(document.prompt), *choices))


def kind_of(spec: Mapping[str, Any]) -> str:
    """The construction of a set; by default `free` for conversations and `own` for others."""
    formats = {one.get("format", spec.get("format")) for one in spec.get("from", ())}
    kind = spec.get("construct", {}).get("kind")
    return kind or ("free" if "messages" in formats else "own")


def labels_of(rows: Sequence[Row]) -> dict[str, str]:
    """The classes of rows, in order, each shown by its own name.

    Raises:
        UserError: fewer than two classes, a class of too few rows, or too many classes.
    """
    counts = Counter(row.label for row in rows)
    label, count = min(counts.items(), key=lambda entry: entry[1])
    where = next(row.where for row in rows if row.label == label)
    if len(counts) < 2:
        raise UserError(
            f"{where}: the label of all {count} rows is {label!r}, and telling classes apart takes "
            "two; give rows of another class"
        )
    if len(counts) > MOST_CLASSES:
        raise UserError(
            f"{len(counts)} different labels in {len(rows)} rows, and at most {MOST_CLASSES} are "
            "classes; take `construct: {kind: free}` for answers that differ"
        )
    if count < FEWEST_OF_CLASS:
        raise UserError(
            f"{where}: the class {label!r} has {count} rows and needs {FEWEST_OF_CLASS}; give more "
            "of them, or say in `construct.labels` which classes count"
        )
    return {label: label for label in sorted(counts)}


def words(rules: Mapping[str, Any]) -> str:
    """The construction `own`, `free` or `label` in words, as reports state it."""
    labels, count = list(rules.get("labels", ())), rules.get("choices")
    names = ", ".join(label.strip() for label in labels)
    offered = f"among {count} drawn of {len(labels)}" if count else f"of {len(labels)}: {names}"
    return KINDS[rules["kind"]].format(noun=rules.get("noun", "subject"), offered=offered)


def tidy(text: str, rules: Mapping[str, Any]) -> str:
    """Clean a question or an answer of marks of its source that would give the right choice away.

    Args:
        rules: `tidy` (single spaces, capital first letter, no blank or punctuation at the end),
            `without` (texts that hold one of these words are left out), `min_characters` and
            `max_characters` (others are left out), `first_characters` (cut after so many, between
            words).

    Raises:
        RowError: the text is left out.
    """
    if rules.get("tidy"):
        text = re.sub(r"\s+", " ", text).strip()
        text = re.sub(r"[\s_:;.,?…]+$", "", text)
        text = text[:1].upper() + text[1:]
    if any(re.search(rf"\b{re.escape(word)}\b", text, re.I) for word in rules.get("without", ())):
        raise RowError("with a word that is left out")
    if len(text) > (rules.get("max_characters") or math.inf):
        raise RowError("too long")
    if len(text) < rules.get("min_characters", 1):
        raise RowError("too short")
    limit = rules.get("first_characters", len(text))
    if len(text) > limit:
        cut = text[: limit + 1].rsplit(None, 1)
        text = cut[0] if len(cut) > 1 else text[:limit]
    return text


def parts_of(row: Row, spec: Mapping[str, Any]) -> dict[str, str]:
    """The prompt of a row, and what a template may name. `RowError` where it is left out."""
    question = tidy(row.question, spec.get("question", {}))
    parts = {"question": question, "context": row.context, "answer": row.answer_text}
    default = CONVERSATION if len(row.messages) > 1 else WITH_CONTEXT if row.context else PROMPT
    return parts | {"prompt": (spec.get("prompt") or default).format(**parts)}


def construct(
    rows: Sequence[Row | Document | str], spec: Mapping[str, Any], rng: random.Random | None
) -> list[Item | str]:
    """Make a document of every row, or say in words why there is none.

    Args:
        rows: parsed rows; finished documents, and reasons why there is no row, stay.
        spec: a set of the domain's YAML, with the kind in `construct`.
        rng: draws labels where not all are offered.
    """
    items: list[Item | str] = []
    for row in rows:
        if isinstance(row, Document):
            items.append(Item(row, bare(row.prompt)))
            continue
        try:
            items.append(row if isinstance(row, str) else _item(row, spec, rng))
        except ValueError as reason:  # a `RowError`, or what is no document
            items.append(str(reason))
    return items


def _item(row: Row, spec: Mapping[str, Any], rng: random.Random | None) -> Item:
    parts, rules, stratum = parts_of(row, spec), spec["construct"], None
    prompt, answer = parts["prompt"], row.answer
    texts: Sequence[str] = row.choices
    if rules["kind"] == "free":
        if not row.answer_text:
            raise RowError("no answer")
        texts, answer = (tidy(row.answer_text, rules.get("texts", {})),), 0
    elif rules["kind"] == "label":
        texts, answer, stratum = _labels(row, rules, rng)
    elif answer is None or len(texts) < 2:
        raise RowError("no choices")
    choices = tuple(spec.get("choice", CHOICE).format(choice=text) for text in texts)
    if len(prompt) + sum(map(len, choices)) > (spec.get("max_characters") or math.inf):
        raise RowError("too long")
    chat = spec.get("chat_template")
    messages = () if chat is False else row.messages
    if chat and not messages:
        template = "{context}\n{question}" if row.context else "{question}"
        messages = (("user", (spec.get("prompt") or template).format(**parts)),)
    group = row.group or bare(f"{row.context} {parts['question']}")
    drawn = row.drawn or bool(rules["kind"] == "label" and rules.get("choices"))
    return Item(Document(prompt, choices, answer, messages), group, stratum, row.where, drawn)


def _labels(
    row: Row, rules: Mapping[str, Any], rng: random.Random | None
) -> tuple[Sequence[str], int, int]:
    """The labels that are offered, the index of the right one, and its index among all."""
    labels, values = list(rules["labels"]), [str(value) for value in rules["labels"].values()]
    if row.label not in values:
        raise RowError("another class")
    stratum = values.index(row.label)
    if not rules.get("choices"):
        return labels, stratum, stratum
    right, others = labels[stratum], sorted({*labels} - {labels[stratum]})
    if rng is None or len(others) < rules["choices"] - 1:
        raise RowError("too few other labels")
    offered = [right, *rng.sample(others, rules["choices"] - 1)]
    rng.shuffle(offered)
    return offered, offered.index(right), stratum
