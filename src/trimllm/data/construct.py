"""Constructions: how a row becomes a document.

`own` takes the data set's own question and choices, `free` its own question and free answer,
`label` its own text and class. Others, which take choices from other rows, are `Construction`s.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trimllm.base.errors import UserError
from trimllm.data.document import Document, bare, normalised
from trimllm.data.rows import Row, RowError

PROMPT = "Question: {question}\nAnswer:"
WITH_CONTEXT = "{context}\n" + PROMPT
CONVERSATION = "{question}\nAssistant:"
"""Prompt of a conversation of several messages, for a model without a chat template."""
MOST_CLASSES = 100
KINDS = ("own", "free", "label")
Construction = Callable[[Sequence[Row], Mapping[str, Any], random.Random], list[Row | str]]
"""(rows in drawn order, set of the domain's YAML, generator) -> each row with its choices, or in
words why it is left out."""


@dataclass(frozen=True)
class Item:
    """A document with what the splits need to know of it.

    Attributes:
        group: items of one group (the same question) are never in two splits.
        stratum: the class, if splits must hold all classes in equal shares.
        where: file and line of its row.
        drawn: whether its wrong choices were drawn and are no part of the question.
    """

    document: Document
    group: str
    stratum: int | None = None
    where: str = ""
    drawn: bool = False

    def content(self, by_prompt: bool = False) -> str:
        """Equal for items that are the same document: prompt and, unless drawn, choices; or the
        prompt alone."""
        document, by_prompt = self.document, by_prompt or self.drawn
        choices = () if by_prompt else sorted(map(normalised, document.choices))
        return "\0".join((bare(document.prompt), *choices))


def kind_of(spec: Mapping[str, Any]) -> str:
    """The construction of a set; by default `free` for conversations, else `own`."""
    formats = {one.get("format", spec.get("format")) for one in spec.get("from", ())}
    kind = spec.get("construct", {}).get("kind")
    return kind or ("free" if "messages" in formats else "own")


def labels_of(rows: Sequence[Row]) -> dict[str, str]:
    """The classes of rows, in order, each shown by its own name."""
    labels = {row.label: row.label for row in sorted(rows, key=lambda row: row.label)}
    if not 2 <= len(labels) <= MOST_CLASSES:
        raise UserError(
            f"{len(labels)} different labels in {len(rows)} rows; 2 to {MOST_CLASSES} classes are "
            "needed; take `construct: {kind: free}` for answers that differ"
        )
    return labels


def tidy(text: str, rules: Mapping[str, Any]) -> str:
    """Remove marks of its source, which could give the right choice away, from a text.

    `rules`: `tidy` (single spaces, capital first letter, no blank or punctuation at the end), and
    `first_characters` (cut between words). `RowError` leaves a text out: `without` (words),
    `min_characters`, `max_characters`.
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
    """The prompt of a row, and what a template may name. `RowError` if the row is left out."""
    question = tidy(row.question, spec.get("question", {}))
    parts = {"question": question, "context": row.context, "answer": row.answer_text}
    default = CONVERSATION if len(row.messages) > 1 else WITH_CONTEXT if row.context else PROMPT
    return parts | {"prompt": (spec.get("prompt") or default).format(**parts)}


def construct(
    rows: Sequence[Row | Document | str], spec: Mapping[str, Any], rng: random.Random
) -> list[Item | str]:
    """Make a document of every row, or say in words why it is left out.

    Args:
        rows: parsed rows; finished documents, and reasons to leave a row out, stay.
        spec: a set of the domain's YAML, with the kind in `construct`.
        rng: draws labels if not all are offered.
    """
    items: list[Item | str] = []
    for row in rows:
        if isinstance(row, Document):
            items.append(Item(row, bare(row.prompt)))
            continue
        try:
            items.append(row if isinstance(row, str) else _item(row, spec, rng))
        except ValueError as reason:  # a `RowError`, or no valid document
            items.append(str(reason))
    return items


def _item(row: Row, spec: Mapping[str, Any], rng: random.Random) -> Item:
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
    choices = tuple(f" {text}" for text in texts)
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
    row: Row, rules: Mapping[str, Any], rng: random.Random
) -> tuple[Sequence[str], int, int]:
    """The labels that are offered, the index of the right one, and its index among all."""
    labels, values = list(rules["labels"]), [str(value) for value in rules["labels"].values()]
    if row.label not in values:
        raise RowError("another class")
    stratum = values.index(row.label)
    if not rules.get("choices"):
        return labels, stratum, stratum
    right, others = labels[stratum], sorted({*labels} - {labels[stratum]})
    if len(others) < rules["choices"] - 1:
        raise RowError("too few other labels")
    offered = [right, *rng.sample(others, rules["choices"] - 1)]
    rng.shuffle(offered)
    return offered, offered.index(right), stratum
