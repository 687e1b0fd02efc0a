"""Inspect a file of documents before a run: which kind of rows, which fields, what is wrong."""

import contextlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from more_itertools import collapse

from trimllm.base.errors import UserError
from trimllm.data.construct import PROMPT, WITH_CONTEXT, Pool, kind_of, read_set
from trimllm.data.rows import MAX_FAILED, RowError, parse_row
from trimllm.data.sources import SUFFIXES, read_source
from trimllm_paper.fetch import hub_errors
from trimllm_paper.own.model import HUB_ID

MOST_LABELS, OFFERED = 20, 8  # labels that are all offered as choices; of more, 8 are drawn
LONGEST_TEXT = 4000  # characters of a labelled text that are read
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
KINDS = {"own": "questions with choices", "label": "labelled texts"}
KINDS |= {"free": "questions with free answers"}
Spec = dict[str, Any]
"""A set of a domain's YAML, without `from`."""


class DataFile(NamedTuple):
    """A file, or a data set of the hub."""

    source: Mapping[str, str]  # what `from` names in a domain's YAML
    spec: Spec  # the set of a domain's YAML that reads it
    pool: Pool  # its documents, without duplicates
    answers: Counter[str]  # rows by label, or by the right answer's place among the choices
    kind: str  # a key of `KINDS`
    fields: str  # that are read, in words


def look(path: Path) -> DataFile:
    """Read a file, or a data set of the hub (OWNER/NAME or OWNER/NAME:SPLIT), and guess what its
    rows are.

    Raises `UserError`: it cannot be read, holds no known kind of rows, more than 5% of its rows do
    not parse, or every row has the same answer.
    """
    source = source_of(path)
    rows = [row for _, row in read_source(source)[0]]
    if not rows:
        raise UserError(f"{path} is empty")
    specs = Counter(json.dumps(spec) for row in rows if (spec := spec_of(row)))
    if not specs:
        first = f"fields {', '.join(rows[0])}" if isinstance(rows[0], Mapping) else str(rows[0])
        raise UserError(
            f"{path}: its first row ({first:.80}) is neither question and answer (with choices or "
            "without), nor text and label, nor messages"
        )
    spec = json.loads(specs.most_common(1)[0][0])
    parsed = []
    for row in rows:
        with contextlib.suppress(RowError):
            parsed.append(parse_row(row, spec))
    right = Counter(row.label or row.answer_text for row in parsed)
    if len(right) == 1 and len(parsed) >= (1 - MAX_FAILED) * len(rows):
        answer = next(iter(right))
        raise UserError(f"{path}: every row has the answer {answer[:80]!r}; nothing can be learned")
    answers = Counter(str(row.answer) for row in parsed if row.choices)
    if kind_of(spec) == "label":
        answers = right
        spec["construct"]["labels"] = {label: label for label in sorted(right)}
        if len(right) > MOST_LABELS:
            spec["construct"]["choices"] = OFFERED
        if any(len(row.question) > LONGEST_TEXT for row in parsed):
            spec["question"] = {"first_characters": LONGEST_TEXT}
    try:
        pool = read_set(path.name, {"from": [source], **spec})
    except UserError as error:
        hint = "; answers count from 0" if " choices)" in str(error) else ""
        raise UserError(f"{path}: {error}{hint}") from None
    fields = ", ".join(map(str, collapse(spec.get("fields", {"messages": "messages"}).values())))
    return DataFile(source, spec, pool, answers, kind_of(spec), fields)


def source_of(path: Path) -> dict[str, str]:
    """The source of a file, or of a data set of the hub at its present commit (split `train` unless
    one is named)."""
    name, _, split = str(path).partition(":")
    if path.exists() or path.suffix in SUFFIXES or not HUB_ID.fullmatch(name):
        return {"file": str(path)}
    from huggingface_hub import HfApi

    with hub_errors(f"{path} does not exist here, and the hub has no such data set"):
        return {"hub": name, "revision": HfApi().dataset_info(name).sha, "split": split or "train"}


def spec_of(row: Any) -> Spec | None:
    """The set that reads rows such as this, by the names and types of its fields."""
    if not isinstance(row, Mapping):
        return None
    if _named(row, ("messages",), list | tuple):
        return {"format": "messages", "construct": {"kind": "free"}}
    question, context = _named(row, QUESTION, str), _named(row, CONTEXT, str)
    if question:
        fields = {"question": question} | ({"context": context} if context else {})
        if choices := _choices(row):
            prompt = WITH_CONTEXT if context else PROMPT
            return {"fields": fields | choices, "prompt": prompt}
        if (reply := _named(row, REPLY, str)) and reply != question:
            fields["answer"] = reply
            return {"fields": fields, "construct": {"kind": "free"}, "chat_template": True}
    text, label = _named(row, TEXT, str), _named(row, LABEL, str | int)
    if text and label and label != text:
        fields, prompt = {"question": text, "label": label}, "{question}\nLabel:"
        return {"fields": fields, "construct": {"kind": "label"}, "prompt": prompt}
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
