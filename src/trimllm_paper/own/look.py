"""Inspect a file of documents before a run: which kind of rows, which fields, what is wrong."""

from __future__ import annotations

import contextlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trimllm.base.errors import UserError
from trimllm.data.construct import PROMPT, WITH_CONTEXT, Pool, read_set
from trimllm.data.rows import MAX_FAILED, RowError, parse_row
from trimllm.data.sources import SUFFIXES, read_source
from trimllm_paper.own.model import HUB_ID, hub_errors

MOST_LABELS, OFFERED = 20, 8
"""Labels that are all offered as choices; of more, so many are drawn."""
LONGEST_TEXT = 4000
"""Characters of a labelled text that are read."""
QUESTION = ("question", "query", "prompt", "q", "goal", "stem", "problem", "instruction", "input")
TEXT = ("text", "sentence", "content", "review", "document", "message", "body", "tweet", "title")
CHOICES = ("choices", "options", "candidates", "endings", "alternatives", "c")
ANSWER = (
    *("answer", "label", "answer_key", "answerkey", "correct", "correct_answer", "gold"),
    *("target", "answer_idx", "answer_index", "solution", "a"),
)
RIGHT = ("correct_answer", "correct", "answer", "best_answer")
REPLY = (*ANSWER, "response", "output", "completion", "reply", "answer_text")
LABEL = ("label", "class", "category", "intent", "topic", "sentiment", "tag", "target", "answer")
CONTEXT = ("context", "passage", "support", "background", "article", "evidence")
OPTION = re.compile(r"(option|choice|opt|ending|sol|op|answer)?[_ ]?([a-j]|[0-9])", re.I)
WRONG = re.compile(r"(distractor|incorrect|wrong)[_ a-z]*[0-9]*", re.I)
KINDS = {
    "own": "questions with choices",
    "label": "labelled texts",
    "free": "questions with free answers",
}
Spec = dict[str, Any]
"""A set of a domain's YAML, without `from`."""


@dataclass(frozen=True)
class DataFile:
    """A file, or a data set of the hub.

    Attributes:
        source: what `from` names in a domain's YAML.
        spec: the set of a domain's YAML that reads it.
        pool: its documents, without duplicates.
        answers: number of rows by label, or by the right answer's place among the choices.
    """

    source: Mapping[str, str]
    spec: Spec
    pool: Pool
    answers: Counter[str]

    @property
    def kind(self) -> str:
        """A key of `KINDS`."""
        return str(self.spec.get("construct", {}).get("kind", "own"))

    @property
    def fields(self) -> str:
        """Fields that are read, in words."""
        values = self.spec.get("fields", {"messages": "messages"}).values()
        names = [value if isinstance(value, list) else [value] for value in values]
        return ", ".join(str(name) for group in names for name in group)


def look(path: Path) -> DataFile:
    """Read a file and guess what its rows are.

    Args:
        path: a file, or OWNER/NAME or OWNER/NAME:SPLIT of a data set of the hub.

    Raises `UserError`: it cannot be read, holds no known kind of rows, more than 5% of its rows do
    not parse, or every row has the same answer.
    """
    source = source_of(path)
    rows = [row for _, row in read_source(source).rows]
    spec = spec_of_rows(path, rows)
    parsed = []
    for row in rows:
        with contextlib.suppress(RowError):
            parsed.append(parse_row(row, spec))
    right = Counter(row.label or row.answer_text for row in parsed)
    if len(right) == 1 and len(parsed) >= (1 - MAX_FAILED) * len(rows):
        answer = next(iter(right))
        raise UserError(f"{path}: every row has the answer {answer[:80]!r}; nothing can be learned")
    answers = Counter(str(row.answer) for row in parsed if row.choices)
    if spec.get("construct") == {"kind": "label"}:
        answers = right
        spec["construct"]["labels"] = {label: label for label in sorted(right)}
        if len(right) > MOST_LABELS:
            spec["construct"]["choices"] = OFFERED
        if any(len(row.question) > LONGEST_TEXT for row in parsed):
            spec["question"] = {"first_characters": LONGEST_TEXT}
    try:
        pool = read_set(path.name, {"from": [source], **spec}, {})
    except UserError as error:
        hint = "; answers count from 0" if " choices)" in str(error) else ""
        raise UserError(f"{path}: {error}{hint}") from None
    return DataFile(source, spec, pool, answers)


def source_of(path: Path) -> dict[str, str]:
    """The source of a file, or of a data set of the hub at its present commit (split `train` unless
    one is named)."""
    name, _, split = str(path).partition(":")
    if path.exists() or path.suffix in SUFFIXES or not HUB_ID.fullmatch(name):
        return {"file": str(path)}
    from huggingface_hub import HfApi

    with hub_errors(f"{path} does not exist here, and the hub has no such data set"):
        return {"hub": name, "revision": HfApi().dataset_info(name).sha, "split": split or "train"}


def spec_of_rows(path: Path, rows: Sequence[Any]) -> Spec:
    """The set that reads most of the rows. Raises `UserError` if no row is of a known kind."""
    if not rows:
        raise UserError(f"{path} is empty")
    specs = (spec_of(row) for row in rows if isinstance(row, Mapping))
    counts = Counter(json.dumps(spec) for spec in specs if spec)
    if not counts:
        first = f"fields {', '.join(rows[0])}" if isinstance(rows[0], Mapping) else str(rows[0])
        raise UserError(
            f"{path}: its first row ({first:.80}) is neither question and answer (with choices or "
            "without), nor text and label, nor messages"
        )
    spec: Spec = json.loads(counts.most_common(1)[0][0])
    return spec


def spec_of(row: Mapping[str, Any]) -> Spec | None:
    """The set that reads rows such as this, by the names and types of its fields."""
    if _named(row, ("messages",), list | tuple):
        return {"format": "messages", "construct": {"kind": "free"}}
    question, context = _named(row, QUESTION, str), _named(row, CONTEXT, str)
    if question:
        fields = {"question": question} | ({"context": context} if context else {})
        prompt = {"prompt": WITH_CONTEXT if context else PROMPT}
        if choices := _choices(row):
            return {"fields": fields | choices, **prompt}
        if (reply := _named(row, REPLY, str)) and reply != question:
            fields["answer"] = reply
            return {"fields": fields, "construct": {"kind": "free"}, "chat_template": True}
    text, label = _named(row, TEXT, str), _named(row, LABEL, str | int)
    if text and label and label != text:
        fields = {"question": text, "label": label}
        prompt = {"prompt": "{question}\nLabel:"}
        return {"fields": fields, "construct": {"kind": "label"}, **prompt}
    return None


def _choices(row: Mapping[str, Any]) -> dict[str, Any] | None:
    """Fields of the choices and of the right answer."""
    listed, options = _named(row, CHOICES, list | dict | str), _options(row)
    if listed and (answer := _named(row, ANSWER, int | str)):
        return {"choices": listed, "answer": answer}
    other = _named(row, [name for name in ANSWER if name not in options], int | str)
    if options and other:
        return {"choices": options, "answer": other}
    wrong, right = [name for name in row if WRONG.fullmatch(name)], _named(row, RIGHT, str)
    if wrong and right:  # SciQ: the right choice in a field of its own
        return {"choices": [right, *wrong], "answer": 0}
    return None


def _named(row: Mapping[str, Any], names: Iterable[str], kind: Any) -> str | None:
    """The field with the first of some names, ignoring case, whose value is of a type."""
    lower = {str(name).lower(): name for name in row}
    present = (lower[name] for name in names if name in lower)
    return next((name for name in present if isinstance(row[name], kind)), None)


def _options(row: Mapping[str, Any]) -> list[str]:
    """Fields that hold a choice each: A to D, option_a, ending0, sol1."""
    groups: dict[str, list[str]] = {}
    for name in row:
        if (match := OPTION.fullmatch(str(name))) and isinstance(row[name], str):
            groups.setdefault(f"{match[1]}{match[2].isdigit()}".lower(), []).append(name)
    group = max(groups.values(), key=len, default=[])
    return sorted(group, key=str.lower) if len(group) > 1 else []
