"""Sets of a domain: rows become documents, grouped by question and put in order. `construct.kind`
of a set: `own` takes the data set's own question and choices, `free` its own question and free
answer, `label` its own text and class. Others are `Construction`s."""

import math
import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from more_itertools import flatten, map_reduce, unique_everseen

from trimllm.base.errors import UserError
from trimllm.data.document import Document, bare
from trimllm.data.rows import MAX_FAILED, Row, RowError, parse_row
from trimllm.data.sources import read_source

PROMPT = "Question: {question}\nAnswer:"
WITH_CONTEXT = "{context}\n" + PROMPT
CONVERSATION = "{question}\nAssistant:"  # for a model without a chat template
EXAMPLES = 3  # rows that an error or a report names
REPEATED = "repeated"  # why a `Construction` leaves out a row with the prompt of another
# (rows in drawn order, set of the domain's YAML, generator) -> each row with its choices, or in
# words why it is left out.
Construction = Callable[[Sequence[Row], Mapping[str, Any], random.Random], list[Row | str]]
# Rows that must stay in one split, by `Row.group`, in the order in which splits take them.
Groups = dict[str, list[Row]]


@dataclass(frozen=True, eq=False)
class Pool:
    """All documents of one set."""

    name: str
    groups: Groups
    report: dict[str, Any]

    @property
    def rows(self) -> list[Row]:
        return [*flatten(self.groups.values())]


def read_set(
    name: str,
    spec: Mapping[str, Any],
    constructions: Mapping[str, Construction] | None = None,
    *,
    shuffled: bool = True,
) -> Pool:
    """The documents of a set of the domain's YAML; `constructions`: others than the library's."""
    rows, report = _read_rows(spec)
    rules = {**spec.get("construct", {}), "kind": kind_of(spec)}
    if rules["kind"] == "label" and not rules.get("labels"):
        rules["labels"] = {label: label for label in sorted({row.label for row in rows})}
    spec, rng = {**spec, "construct": rules}, random.Random(f"0:{name}")
    groups = list(map_reduce(rows, lambda row: bare(row.question)).values())
    if shuffled:
        rng.shuffle(groups)
    ordered: list[Any] = list(flatten(groups))
    if apply := (constructions or {}).get(rules["kind"]):
        ordered = apply(ordered, spec, rng)
    constructed, left_out = construct(ordered, spec, rng)
    unique = list(unique_everseen(constructed, Row.content))
    report["documents"] = len(unique)
    report["duplicates_removed"] = len(constructed) - len(unique) + left_out.pop(REPEATED, 0)
    report["rows_left_out"] = dict(left_out)
    classes = {row.stratum for row in unique}
    if missing := [one for at, one in enumerate(rules.get("labels", ())) if at not in classes]:
        raise UserError(f"no document has the class {', '.join(missing)}; see labels")
    return Pool(name, in_order(unique), report)


def _read_rows(spec: Mapping[str, Any]) -> tuple[list[Row], dict[str, Any]]:
    """The rows of a set that parse, and the report on all of them."""
    rows: list[Row] = []
    failures: list[str] = []
    hashes: dict[str, str] = {}
    for source in spec["from"]:
        numbered, sha256 = read_source(source)
        hashes |= sha256
        for where, row in numbered:
            try:
                rows.append(replace(parse_row(row, {**spec, **source}), where=where))
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


def in_order(rows: Iterable[Row]) -> Groups:
    """Groups in the order of their first rows, mixed so that every prefix holds the classes in
    equal shares: the j-th of n groups of a class goes to the place (j + 1/2) / n of the whole."""
    groups = map_reduce(rows, lambda row: row.group)
    placed = {
        name: (number + 0.5) / len(members)
        for members in map_reduce(groups, lambda name: groups[name][0].stratum).values()
        for number, name in enumerate(members)
    }
    return {name: groups[name] for name in sorted(placed, key=placed.__getitem__)}


def kind_of(spec: Mapping[str, Any]) -> str:
    """The construction of a set; by default `free` for conversations, else `own`."""
    formats = {one.get("format", spec.get("format")) for one in spec.get("from", ())}
    kind = spec.get("construct", {}).get("kind")
    return kind or ("free" if "messages" in formats else "own")


def tidy(text: str, rules: Mapping[str, Any]) -> str:
    """A text without marks of its source, which could give the right choice away, by the rules of a
    domain's YAML. `RowError` leaves it out."""
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
    """The prompt of a row, and what a template may name."""
    question = tidy(row.question, spec.get("question", {}))
    parts = {"question": question, "context": row.context, "answer": row.answer_text}
    default = CONVERSATION if len(row.messages) > 1 else WITH_CONTEXT if row.context else PROMPT
    return parts | {"prompt": (spec.get("prompt") or default).format(**parts)}


def construct(
    rows: Iterable[Row | str], spec: Mapping[str, Any], rng: random.Random
) -> tuple[list[Row], Counter[str]]:
    """Rows with their documents, and how many are left out for each reason. `rows`: parsed ones,
    and reasons to leave a row out; `rng` draws labels if not all are offered."""
    constructed, left_out = [], Counter[str]()
    for row in rows:
        try:
            if isinstance(row, str):
                raise RowError(row)
            constructed.append(row if row.document else _with_document(row, spec, rng))
        except ValueError as reason:  # a `RowError`, or no valid document
            left_out[str(reason)] += 1
    return constructed, left_out


def _with_document(row: Row, spec: Mapping[str, Any], rng: random.Random) -> Row:
    parts, rules = parts_of(row, spec), spec["construct"]
    texts, answer, stratum, drawn = row.choices, row.answer, None, row.drawn
    if rules["kind"] == "free":
        texts, answer = (tidy(row.answer_text, rules.get("texts", {})),), 0
    elif rules["kind"] == "label":
        values = [str(value) for value in rules["labels"].values()]
        if row.label not in values:
            raise RowError("another class")
        texts, stratum = tuple(rules["labels"]), values.index(row.label)
        right = texts[stratum]
        if count := rules.get("choices"):  # so many of the labels
            offered = [right, *rng.sample(sorted({*texts} - {right}), count - 1)]
            rng.shuffle(offered)
            texts, drawn = tuple(offered), True
        answer = texts.index(right)
    if answer is None or len(texts) < 2 and rules["kind"] != "free":
        raise RowError("no choices")
    prompt, choices = parts["prompt"], tuple(f" {text}" for text in texts)
    if len(prompt) + sum(map(len, choices)) > (spec.get("max_characters") or math.inf):
        raise RowError("too long")
    messages = () if spec.get("chat_template") is False else row.messages
    if spec.get("chat_template") and not messages:
        template = "{context}\n{question}" if row.context else "{question}"
        messages = (("user", (spec.get("prompt") or template).format(**parts)),)
    group = row.group or bare(f"{row.context} {parts['question']}")
    document = Document(prompt, choices, answer, messages)
    return replace(row, document=document, group=group, stratum=stratum, drawn=drawn)
