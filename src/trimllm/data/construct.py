"""Sets of a domain: rows become documents, grouped by question and put in order.

`construct.kind` of a set: `own` takes the data set's own question and choices, `free` its own
question and free answer, `label` its own text and class. Others are `Construction`s.
"""

from __future__ import annotations

import math
import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from more_itertools import map_reduce, unique_everseen

from trimllm.base.errors import UserError
from trimllm.data.document import Document, bare, normalised
from trimllm.data.rows import MAX_FAILED, Row, RowError, parse_row
from trimllm.data.sources import read_source

PROMPT = "Question: {question}\nAnswer:"
WITH_CONTEXT = "{context}\n" + PROMPT
CONVERSATION = "{question}\nAssistant:"
"""Prompt of a conversation of several messages, for a model without a chat template."""
EXAMPLES = 3
"""Rows that an error or a report names."""
REPEATED = "asked before"
"""Why a `Construction` leaves out a row with the prompt of another: it is a duplicate."""
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
        compared = () if by_prompt or self.drawn else self.document.choices
        return "\0".join((bare(self.document.prompt), *sorted(map(normalised, compared))))


@dataclass(frozen=True, eq=False)
class Pool:
    """All documents of one set, grouped and in the order in which splits take them."""

    name: str
    groups: list[list[Item]]
    report: dict[str, Any]

    @property
    def items(self) -> list[Item]:
        """All documents."""
        return [item for group in self.groups for item in group]


def read_task(spec: Mapping[str, Any]) -> Pool:
    """The documents of an lm-eval task in their own order, as `--limit` takes them."""
    rows, report = _read_rows({"from": [spec]})
    items = (Item(row, bare(row.prompt)) for row in rows if isinstance(row, Document))
    groups = [[item] for item in unique_everseen(items, Item.content)]
    return Pool(f"lm-eval {spec['task']}", groups, report | {"documents": len(groups)})


def read_set(name: str, spec: Mapping[str, Any], constructions: Mapping[str, Construction]) -> Pool:
    """The documents of a set of the domain's YAML; `constructions`: others than the library's."""
    rows, report = _read_rows(spec)
    rules = {**spec.get("construct", {}), "kind": kind_of(spec)}
    if rules["kind"] == "label" and not rules.get("labels"):
        labels = sorted({row.label for row in rows if isinstance(row, Row)})
        rules["labels"] = dict(zip(labels, labels, strict=True))
    spec, rng = {**spec, "construct": rules}, random.Random(f"0:{name}")
    by_question = map_reduce(
        rows, lambda row: bare(row.prompt if isinstance(row, Document) else row.question)
    )
    groups = list(by_question.values())
    rng.shuffle(groups)
    ordered: list[Any] = [row for group in groups for row in group]
    if apply := constructions.get(rules["kind"]):
        ordered = apply(ordered, spec, rng)
    items, left_out = construct(ordered, spec, rng)
    unique = list(unique_everseen(items, Item.content))
    report["documents"] = len(unique)
    report["duplicates_removed"] = len(items) - len(unique) + left_out.pop(REPEATED, 0)
    report["rows_left_out"] = dict(left_out)
    classes = {item.stratum for item in unique}
    if missing := [one for at, one in enumerate(rules.get("labels", ())) if at not in classes]:
        raise UserError(f"no document has the class {', '.join(missing)}; see labels")
    return Pool(name, in_order(unique), report)


def _read_rows(spec: Mapping[str, Any]) -> tuple[list[Row | Document], dict[str, Any]]:
    """The rows of a set that parse, and the report on all of them."""
    rows: list[Row | Document] = []
    failures: list[str] = []
    hashes: dict[str, str] = {}
    for source in spec["from"]:
        content = read_source(source)
        hashes |= content.sha256
        for where, row in content.rows:
            try:
                if not isinstance(row, Document):
                    row = replace(parse_row(row, {**spec, **source}), where=where)
                rows.append(row)
            except RowError as reason:
                failures.append(f"{where} ({reason})")
    total = len(rows) + len(failures)
    if len(failures) > MAX_FAILED * total or not total:
        raise UserError(
            f"{len(failures)} of {total} rows do not parse, more than {MAX_FAILED:.0%} "
            f"({'; '.join(failures[:EXAMPLES]) or 'there are none'})"
        )
    report = {"sources": hashes, "rows_read": total, "rows_failed": len(failures)}
    return rows, report | {"rows_failed_examples": failures[:EXAMPLES]}


def in_order(items: Iterable[Item]) -> list[list[Item]]:
    """Groups in the order of their first items, mixed so that every prefix holds the classes in
    equal shares: the j-th of n groups of a class goes to the place (j + 1/2) / n of the whole."""
    groups = map_reduce(items, lambda item: item.group).values()
    placed = [
        ((number + 0.5) / len(members), group)
        for members in map_reduce(groups, lambda group: group[0].stratum).values()
        for number, group in enumerate(members)
    ]
    return [group for _, group in sorted(placed, key=lambda entry: entry[0])]


def kind_of(spec: Mapping[str, Any]) -> str:
    """The construction of a set; by default `free` for conversations, else `own`."""
    formats = {one.get("format", spec.get("format")) for one in spec.get("from", ())}
    kind = spec.get("construct", {}).get("kind")
    return kind or ("free" if "messages" in formats else "own")


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
    rows: Iterable[Row | Document | str], spec: Mapping[str, Any], rng: random.Random
) -> tuple[list[Item], Counter[str]]:
    """The documents of rows, and how many rows are left out for each reason.

    Args:
        rows: parsed rows, finished documents, and reasons to leave a row out.
        spec: a set of the domain's YAML, with the kind in `construct`.
        rng: draws labels if not all are offered.
    """
    items, left_out = [], Counter[str]()
    for row in rows:
        try:
            if isinstance(row, str):
                raise RowError(row)
            items.append(_item(row, spec, rng))
        except ValueError as reason:  # a `RowError`, or no valid document
            left_out[str(reason)] += 1
    return items, left_out


def _item(row: Row | Document, spec: Mapping[str, Any], rng: random.Random) -> Item:
    if isinstance(row, Document):
        return Item(row, bare(row.prompt))
    parts, rules = parts_of(row, spec), spec["construct"]
    prompt, texts, answer = parts["prompt"], row.choices, row.answer
    stratum, drawn = None, row.drawn
    if rules["kind"] == "free":
        if not row.answer_text:
            raise RowError("no answer")
        texts, answer = (tidy(row.answer_text, rules.get("texts", {})),), 0
    elif rules["kind"] == "label":
        values = [str(value) for value in rules["labels"].values()]
        if row.label not in values:
            raise RowError("another class")
        texts, stratum, drawn = tuple(rules["labels"]), values.index(row.label), False
        right = texts[stratum]
        if count := rules.get("choices"):  # so many of the labels
            offered = [right, *rng.sample(sorted({*texts} - {right}), count - 1)]
            rng.shuffle(offered)
            texts, drawn = tuple(offered), True
        answer = texts.index(right)
    if answer is None or len(texts) < 2 and rules["kind"] != "free":
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
    return Item(Document(prompt, choices, answer, messages), group, stratum, row.where, drawn)
