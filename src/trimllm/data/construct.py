"""Constructions: how a row becomes a document, and what that is called.

`own` is the data set's own question and choices, `free` its own question and free answer, `label`
its own text and class. The others make a question that can be learned,
and answered with few tokens, out of data whose own task cannot: a table that uses one must say so,
so each has a name in words.

Wrong choices are drawn of rows nearby in the drawn order. Most of these come into the same split:
drawn of all, wrong ones of tests would be right ones of training, and a model that learned these by
heart would be misled. Of questions that ask what is not so all of them would be right: leave these
out by `question.without`.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from html import unescape
from operator import attrgetter
from typing import Any

from trimllm.base.errors import UserError
from trimllm.data.document import Document, bare, normalised
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
_TAG = re.compile(r"</?[a-zA-Z][^<>]*>")
_STOP = re.compile(r"(?<=[a-z0-9)][.?!])\s+(?=[A-Z])")
_SHORT = re.compile(r"\b(?:[A-Z][a-z]{0,4}|vs?|etc|al|cf|no|pp?|e\.g|i\.e|[ap]\.m)\.$")
"""An abbreviation at the end, or a name as short: the sentence goes on."""
WORDS = (9, 16)
"""Words of a sentence that is cut in two, at least and at most."""
END = 5
"""Words that are to be chosen: as many of every sentence, so that their number tells nothing."""
REPEATED = "asked before"
"""Why a row is left out whose prompt another one has, where choices are drawn."""
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
    drawn: bool = False
    """Whether its wrong choices are drawn, and so no part of what is asked."""

    @property
    def content(self) -> str:
        """What another item of its set must share to be the same one: the prompt and, where they
        are a part of what is asked, all choices."""
        document = self.document
        shown = () if self.drawn else sorted(map(normalised, document.choices))
        return "\0".join((bare(document.prompt), *shown))


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
    asked = [row if isinstance(row, Document) else _asked(row, how, rules) for row in rows]
    drawn = rules["kind"] in DRAWN or (rules["kind"] == "label" and bool(rules.get("choices")))
    if drawn:
        asked = _once(asked)
    offered = [one.text for one in asked if isinstance(one, _Asked)]
    bared = [bare(text) for text in offered]
    count = rules.get("choices") or CHOICES
    if rules["kind"] in DRAWN and (found := len({*bared})) < count:
        raise UserError(
            f"{found} different texts are too few for {count} choices (of rows of one prompt only "
            "the first counts)"
        )
    made: list[Item | str] = []
    place = 0
    for each in asked:
        if isinstance(each, str):
            made.append(each)
            continue
        if isinstance(each, Document):
            made.append(Item(each, bare(each.prompt)))
            continue
        around = slice(max(0, place - NEAR), place + NEAR + 1) if drawn else slice(0)
        near = dict(zip(bared[around], offered[around], strict=True))
        near.pop(bared[place], None)
        place += 1
        try:
            shown, answer, stratum = _choices(each, rules, near.values(), rng)
            choices = tuple(how.get("choice", CHOICE).format(choice=text) for text in shown)
            if len(each.prompt) + sum(map(len, choices)) > how.get("max_characters", float("inf")):
                raise RowError("too long")
            document = Document(each.prompt, choices, answer, _messages(each.row, how, each.parts))
            group = each.row.group or bare(f"{each.row.context} {each.parts['question']}")
            made.append(Item(document, group, stratum, each.row.where, drawn))
        except ValueError as reason:  # a `RowError` among them
            made.append(str(reason))
    return made


@dataclass(frozen=True)
class _Asked:
    """A row as it is asked, before its choices are drawn."""

    row: Row
    parts: Mapping[str, str]
    """What a prompt may name: question, context and answer."""
    prompt: str
    text: str
    """Where choices are drawn of other rows, its own: the right one."""


def _once(asked: Sequence[_Asked | Document | str]) -> list[_Asked | Document | str]:
    """Each prompt once: the first row that asks it, whatever others answer.

    Wrong choices are drawn of what is left, so none of them answers the prompt as well.
    """
    seen: set[str] = set()
    left: list[_Asked | Document | str] = []
    for one in asked:
        prompt = bare(one.prompt) if isinstance(one, _Asked) else ""
        left.append(REPEATED if prompt in seen else one)
        seen |= {prompt} - {""}
    return left


def _asked(row: Row, how: Mapping[str, Any], rules: Mapping[str, Any]) -> _Asked | str:
    """What a row asks, or in words why it asks nothing."""
    try:
        text = ""
        if told := DRAWN.get(rules["kind"]):
            try:
                text = tidy(told(row), rules.get("texts", {}))
            except RowError:
                raise RowError("no text to choose") from None
        if rules["kind"] == "label" and row.label not in map(str, rules["labels"].values()):
            raise RowError("another class")
        question = tidy(row.question, how.get("question", {}))
        parts = {"question": question, "context": row.context, "answer": row.answer_text}
        prompt = (how.get("prompt") or _prompt(row)).format(**parts)
        if len(prompt) + len(text) > how.get("max_characters", float("inf")):
            raise RowError("too long")
        return _Asked(row, parts, prompt, text)
    except ValueError as reason:  # a `RowError` among them
        return str(reason)


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
    """The sentences of a row's text, of 9 to 16 words, each cut before its last 5; all of one
    group. Tags of HTML go."""
    for sentence in _sentences(unescape(_TAG.sub(" ", row.question))):
        words = sentence.split()
        if WORDS[0] <= len(words) <= WORDS[1]:
            first, rest = " ".join(words[:-END]), " ".join(words[-END:])
            yield replace(row, question=first, answer_text=rest, group=bare(row.question))


def _sentences(text: str) -> Iterator[str]:
    """A text in sentences, not cut after an abbreviation (v., Dr., Inc., e.g.)."""
    begun = ""
    for part in _STOP.split(text):
        begun = f"{begun} {part}".strip()
        if not _SHORT.search(begun):
            yield begun
            begun = ""
    if begun:
        yield begun


def _choices(
    one: _Asked, rules: Mapping[str, Any], others: Iterable[str], rng: random.Random | None
) -> tuple[Sequence[str], int, int | None]:
    """Texts of the choices, index of the right one, and the class where there are classes.

    Args:
        others: where texts are drawn, those of the rows nearby.
    """
    row, kind, stratum = one.row, rules["kind"], None
    if kind == "own":
        if row.answer is None or len(row.choices) < 2:
            raise RowError("no choices")
        return row.choices, row.answer, None
    if kind == "free":
        if not row.answer_text:
            raise RowError("no answer")
        return (tidy(row.answer_text, rules.get("texts", {})),), 0, None
    right = one.text
    if kind == "label":
        values = [str(value) for value in rules["labels"].values()]
        stratum, labels = values.index(row.label), list(rules["labels"])
        if not rules.get("choices"):
            return labels, stratum, stratum
        right, others = labels[stratum], {*labels} - {labels[stratum]}
    others, count = sorted(others), rules.get("choices") or CHOICES
    if len(others) < count - 1:
        raise RowError("too few other texts")
    if rng is None:
        raise ValueError("these choices are drawn: by which generator?")
    texts = [right, *rng.sample(others, count - 1)]
    rng.shuffle(texts)
    return texts, texts.index(right), stratum
