"""Constructions: how a row becomes a document, and what that is called.

`own` is the data set's own question and choices, `free` its own question and free answer, `label`
its own text and class. The others make a question that can be learned,
and answered with few tokens, out of data whose own task cannot: a table that uses one must say so,
so each has a name in words.

Wrong choices are drawn of rows nearby in the drawn order, most of which come into the same split:
drawn of all, those of tests would be right answers of training, and a model that learned these by
heart would be misled.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any

from trimllm.base.errors import UserError
from trimllm.data.document import Document, normalised
from trimllm.data.rows import Row, RowError

PROMPT = "Question: {question}\nAnswer:"
WITH_CONTEXT = "{context}\n" + PROMPT
CONVERSATION = "{question}\nAssistant:"
"""Prompt of a conversation of several messages, for a model without a chat template."""
CHOICE = " {choice}"
CHOICES = 4
NEAR = 100
"""Rows before and after one, of which its wrong choices are drawn."""
_ANSWER = attrgetter("answer_text")
DRAWN = {"answer": _ANSWER, "continuation": _ANSWER, "question": attrgetter("question")}
"""Construction -> what of a row is to be chosen among the same of other rows."""
WORDS = (8, 16)
"""Words of a sentence that is cut in two, at least and at most."""
HEAD = 0.6
"""Share of its words that is shown."""
MOST_CLASSES = 100
FEWEST_OF_CLASS = 4
"""Rows of a class: one to test, one held back, one to calibrate and one to train."""


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


def kind_of(how: Mapping[str, Any]) -> str:
    """The construction of a set: as it says, else `free` for conversations and `own` for others."""
    formats = {one.get("format", how.get("format")) for one in how.get("from", ())}
    told = how.get("construct", {}).get("kind")
    return told or ("free" if "messages" in formats else "own")


def labels_of(rows: Sequence[Row | Document]) -> dict[str, str]:
    """The classes of rows, in order, each shown by its own name.

    Raises:
        UserError: fewer than two classes, a class of too few rows, or too many classes.
    """
    classes: dict[str, list[Row]] = {}
    for row in rows:
        if isinstance(row, Row):
            classes.setdefault(row.label, []).append(row)
    if len(classes) < 2:
        first = next(iter(classes.values()), [Row("", where="no row")])[0]
        raise UserError(
            f"{first.where}: the label of all {len(rows)} rows is {first.label!r}, and telling "
            "classes apart takes two; give rows of another class"
        )
    if len(classes) > MOST_CLASSES:
        raise UserError(
            f"{len(classes)} different labels in {len(rows)} rows, and at most {MOST_CLASSES} are "
            "classes; take `construct: {kind: free}` for answers that differ"
        )
    for label, members in classes.items():
        if len(members) < FEWEST_OF_CLASS:
            raise UserError(
                f"{members[0].where}: the class {label!r} has {len(members)} rows and needs "
                f"{FEWEST_OF_CLASS}, one to test, one held back, one to calibrate, one to train; "
                "give more of them, or say in `construct.labels` which classes count"
            )
    return {label: label for label in sorted(classes)}


def words(how: Mapping[str, Any]) -> str:
    """The construction in words, as a table's header states it."""
    labels, count = list(how.get("labels", ())), how.get("choices") or CHOICES
    noun, offered = how.get("noun", "subject"), f"of {len(labels)}"
    offered += ": " + ", ".join(label.strip() for label in labels)
    if how.get("choices"):
        offered = f"among {count} drawn of {len(labels)}"
    return {
        "label": f"which {noun} a question is about, {offered}",
        "answer": f"choose the answer among the answers to {count - 1} other questions",
        "continuation": f"choose how a sentence goes on, among the ends of {count - 1} others",
        "question": f"choose the question that a text answers, among {count}",
        "free": "the data set's own question and free answer",
        "own": "the data set's own question and choices",
    }[how.get("kind", "own")]


def tidy(question: str, how: Mapping[str, Any]) -> str:
    """Take away marks of the source that would give a class, or the right choice, away.

    Args:
        question: as it was read; or an answer.
        how: `without` (texts that hold one of these words are left out), `tidy` (single spaces,
            capital first letter, no blank or punctuation at the end, which sources use
            differently), `min_characters` and `max_characters` (others are left out), and
            `first_characters` (cut after so many, between words).
    """
    if how.get("tidy"):
        question = re.sub(r"\s+", " ", question).strip()
        question = re.sub(r"[\s_:;.,?…]+$", "", question)
        question = question[:1].upper() + question[1:]
    if any(re.search(rf"\b{re.escape(word)}\b", question, re.I) for word in how.get("without", ())):
        raise RowError("with a word that is left out")
    if len(question) > how.get("max_characters", float("inf")):
        raise RowError("too long")
    if len(question) < how.get("min_characters", 1):
        raise RowError("too short")
    limit = how.get("first_characters", len(question))
    if len(question) > limit:
        cut = question[: limit + 1].rsplit(None, 1)
        question = cut[0] if len(cut) > 1 else question[:limit]
    return question


def construct(
    rows: Sequence[Row | Document], how: Mapping[str, Any], rng: random.Random | None
) -> list[Item | str]:
    """Make a document of every row, or say in words why there is none.

    Args:
        rows: parsed rows, in the order in which splits take them; finished documents stay.
        how: `construct` (kind and its settings), `question`, `prompt`, `choice`, `max_characters`,
            `chat_template` of a set in the domain's YAML.
        rng: draws choices and their order; None where there are only finished documents.
    """
    rules = how.get("construct", {}) | {"kind": kind_of(how)}
    if rules["kind"] == "continuation":
        rows = [half for row in rows if isinstance(row, Row) for half in halves(row)]
    texts: list[str] = []
    if drawn := DRAWN.get(rules["kind"]):
        texts = [_clean(drawn(row), rules) for row in rows]
        if len({*texts} - {""}) < (count := rules.get("choices") or CHOICES):
            raise UserError(
                f"{len({*texts} - {''})} different texts are too few for {count} choices"
            )
    made: list[Item | str] = []
    for place, row in enumerate(rows):
        if isinstance(row, Document):
            made.append(Item(row, normalised(row.prompt)))
            continue
        near = texts[max(0, place - NEAR) : place + NEAR + 1]
        try:
            own = texts[place] if texts else ""
            shown, answer, stratum = _choices(row, rules, own, near, rng)
            question = tidy(row.question, how.get("question", {}))
            parts = {"question": question, "context": row.context, "answer": row.answer_text}
            prompt = (how.get("prompt") or _prompt(row)).format(**parts)
            choices = tuple(how.get("choice", CHOICE).format(choice=text) for text in shown)
            if len(prompt) + sum(map(len, choices)) > how.get("max_characters", float("inf")):
                raise RowError("too long")
            group = row.group or normalised(question)
            messages = _messages(row, how, parts)
            document = Document(prompt, choices, answer, messages)
            made.append(Item(document, group, stratum, row.where))
        except ValueError as reason:  # a `RowError` among them
            made.append(str(reason))
    return made


def _prompt(row: Row) -> str:
    """The prompt of a set that names none."""
    if len(row.messages) > 1:
        return CONVERSATION
    return WITH_CONTEXT if row.context else PROMPT


def _messages(
    row: Row, how: Mapping[str, Any], parts: Mapping[str, str]
) -> tuple[tuple[str, str], ...]:
    """What a chat template is to render: a conversation, or the question; none where none is."""
    told = how.get("chat_template")
    if not (row.messages if told is None else told):
        return ()
    bare = "{context}\n{question}" if row.context else "{question}"
    return row.messages or (("user", (how.get("prompt") or bare).format(**parts)),)


def halves(row: Row) -> Iterator[Row]:
    """The sentences of a row's text, of 8 to 16 words, each cut in two; of one group all."""
    for sentence in re.split(r"(?<=[a-z0-9)][.?!])\s+(?=[A-Z])", row.question):
        words = sentence.split()
        if WORDS[0] <= len(words) <= WORDS[1]:
            at = round(HEAD * len(words))
            first, rest = " ".join(words[:at]), " ".join(words[at:])
            yield replace(row, question=first, answer_text=rest, group=normalised(row.question))


def _clean(text: str, rules: Mapping[str, Any]) -> str:
    """A text to choose; nothing where it is left out."""
    try:
        return tidy(text, rules.get("texts", {}))
    except RowError:
        return ""


def _choices(
    row: Row, rules: Mapping[str, Any], own: str, near: list[str], rng: random.Random | None
) -> tuple[Sequence[str], int, int | None]:
    """Texts of the choices, index of the right one, and the class where there are classes.

    Args:
        own, near: of constructions that draw, the row's text and those of the rows around it.
    """
    kind = rules["kind"]
    if kind == "own":
        if row.answer is None or len(row.choices) < 2:
            raise RowError("no choices")
        return row.choices, row.answer, None
    if kind == "free":
        if not row.answer_text:
            raise RowError("no answer")
        return (tidy(row.answer_text, rules.get("texts", {})),), 0, None
    stratum = None
    if kind == "label":
        values = [str(value) for value in rules["labels"].values()]
        if row.label not in values:
            raise RowError("another class")
        stratum, labels = values.index(row.label), list(rules["labels"])
        if not rules.get("choices"):
            return labels, stratum, stratum
        right, others = labels[stratum], {*labels} - {labels[stratum]}
    else:
        right = own
        if not right:
            raise RowError("no text to choose")
        others = {text for text in near if normalised(text) not in ("", normalised(right))}
    count = rules.get("choices") or CHOICES
    if len(others) < count - 1:
        raise RowError("too few other texts")
    if rng is None:
        raise ValueError("these choices are drawn: by which generator?")
    # sorted, so that a seed draws the same ones again
    texts = [right, *rng.sample(sorted(others), count - 1)]
    rng.shuffle(texts)
    return texts, texts.index(right), stratum
