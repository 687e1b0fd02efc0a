"""Inspect a file of documents before a run: which kind of rows, which fields, what is wrong.

Every problem is one line that names the file, the line in it and what to do.
"""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trimllm.base.errors import UserError
from trimllm.data.construct import PROMPT, WITH_CONTEXT
from trimllm.data.document import bare
from trimllm.data.rows import MAX_FAILED, Row, RowError, parse_row
from trimllm.data.sources import SUFFIXES, read_source
from trimllm_paper.own.model import HUB_ID, of_hub

MOST_LABELS, OFFERED = 20, 8
"""Labels that are all offered as choices; of more, so many are drawn."""
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
Place = tuple[str, Any]
"""(file and line, row)."""


@dataclass(frozen=True)
class Kind:
    """Kind of rows: "choices" (questions with choices), "labels" (texts with a label), "free"
    (questions with free answers) or "messages" (conversations), and the fields by their names in a
    domain's YAML."""

    name: str
    fields: Mapping[str, Any]

    def __str__(self) -> str:
        values = (value if isinstance(value, list) else [value] for value in self.fields.values())
        return ", ".join(str(name) for names in values for name in names) or self.name

    @property
    def parsing(self) -> dict[str, Any]:
        """Options of `trimllm.data.rows.parse_row`."""
        return {"fields": dict(self.fields)} if self.fields else {"format": "messages"}

    @property
    def free(self) -> bool:
        """Whether its answers are free text."""
        return self.name in ("free", "messages")


@dataclass(frozen=True)
class DataFile:
    """A file, or a data set of the hub.

    Attributes:
        source: as a domain's YAML names it.
        rows: number of rows; `failed`: a line for each that does not parse.
        answers: how often each label, or each place among the choices, is right.
        documents: number of different rows.
        spec: the set of a domain's YAML that reads it, without `from`.
    """

    path: Path
    source: Mapping[str, str]
    kind: Kind
    rows: int
    failed: Sequence[str]
    answers: Mapping[str, int]
    documents: int
    spec: Mapping[str, Any]


def look(path: Path) -> DataFile:
    """Read a file, find its kind and check every row.

    Args:
        path: a file, or OWNER/NAME or OWNER/NAME:SPLIT of a data set of the hub.

    Raises `UserError`: it cannot be read, has no kind or several, more than 5% of its rows do not
    parse, or every row has the same answer.
    """
    source = source_of(path)
    rows = read(source)
    kind = kind_of_all(path, rows)
    failed, parsed = [], list[Row]()
    for place, row in rows:
        try:
            if isinstance(row, RowError):
                raise row
            parsed.append(parse_row(row, kind.parsing))
        except RowError as reason:
            failed.append(f"{place}: {reason}")
    if len(failed) > MAX_FAILED * len(rows):
        hint = "; answers count from 0" if " choices" in failed[0] else ""
        raise UserError(
            f"{len(failed)} of {len(rows)} rows do not parse; the first is {failed[0]}{hint}"
        )
    labels = kind.name == "labels"
    right = Counter(one.label if labels else one.answer_text for one in parsed)
    if len(right) < 2:
        answer = f"{'label' if labels else 'right answer'} {next(iter(right))[:80]!r}"
        raise UserError(f"{path}: all {len(parsed)} rows have the {answer}; nothing can be learned")
    answers = right if labels else Counter(str(one.answer) for one in parsed if one.choices)
    documents = len({_content(one) for one in parsed})
    return DataFile(path, source, kind, len(rows), failed, answers, documents, _spec(kind, parsed))


def questions(data: DataFile) -> dict[str, str]:
    """Every question (or text) of a file, normalised by `bare`, and its place."""
    places: dict[str, str] = {}
    for place, row in read(data.source):
        with contextlib.suppress(RowError):
            one = parse_row(row, data.kind.parsing)
            places.setdefault(one.group or _content(one)[0], place)
    return places


def _content(row: Row) -> tuple[str, ...]:
    """Equal for two rows that are one document."""
    answers = sorted(map(bare, row.choices or [row.answer_text]))
    return bare(f"{row.context} {row.question}"), *answers


def source_of(path: Path) -> dict[str, str]:
    """The source of a file, or of a data set of the hub at its present commit (split `train` unless
    one is named)."""
    name, _, split = str(path).partition(":")
    if path.exists() or path.suffix in SUFFIXES or not HUB_ID.fullmatch(name):
        return {"file": str(path)}
    from huggingface_hub import HfApi

    with of_hub(f"{path} does not exist here, and the hub has no such data set"):
        return {"hub": name, "revision": HfApi().dataset_info(name).sha, "split": split or "train"}


def read(source: Mapping[str, str]) -> list[Place]:
    """(place, row) of a source; a line that is no JSON is a `RowError`.

    Raises `UserError` for a source that cannot be read or is empty.
    """
    path = Path(source.get("file", ""))
    if path.suffix == ".jsonl" and path.is_file() and path.open("rb").read(1) == b"[":
        name = path.with_suffix(".json").name
        raise UserError(f"{path} is one JSON list, not a document a line; rename it {name}")
    if not (rows := read_source(source).rows):
        raise UserError(f"{source.get('file') or source['hub']} is empty")
    return rows


# ---- kinds ---------------------------------------------------------------------------------------


def kind_of_all(path: Path, rows: Sequence[Place]) -> Kind:
    """The kind of the rows of a file. Raises `UserError` for none, and for several."""
    kinds = [(place, kind_of(row)) for place, row in rows if isinstance(row, Mapping)]
    known = [(place, kind) for place, kind in kinds if kind]
    if not known:
        place, row = next(((p, r) for p, r in rows if isinstance(r, Mapping)), rows[0])
        content = f"fields {', '.join(row)}" if isinstance(row, Mapping) else f"{row!r:.80}"
        raise UserError(
            f"{path}: {place} has {content}: neither question and answer (with choices or "
            "without), nor text and label, nor messages"
        )
    most = Counter(str(kind) for _, kind in known).most_common(1)[0][0]
    first = next(one for one in known if str(one[1]) == most)
    others = [one for one in known if str(one[1]) != most]
    if len(others) > MAX_FAILED * len(rows):
        raise UserError(
            f"{path} mixes kinds of rows: {first[0]} has {most}, {others[0][0]} has {others[0][1]} "
            f"({len(others)} of {len(rows)} rows); put each kind into a file of its own"
        )
    return first[1]


def kind_of(row: Mapping[str, Any]) -> Kind | None:
    """The kind of a row, by the names and types of its fields; None if unknown."""
    if _named(row, ("messages",), list | tuple):
        return Kind("messages", {})
    question, context = _named(row, QUESTION, str), _named(row, CONTEXT, str)
    if question:
        fields = {"question": question} | ({"context": context} if context else {})
        listed, options = _named(row, CHOICES, list | dict | str), _options(row)
        answer = _named(row, ANSWER, int | str)
        if listed and answer:
            return Kind("choices", fields | {"choices": listed, "answer": answer})
        other = _named(row, [name for name in ANSWER if name not in options], int | str)
        if options and other:
            return Kind("choices", fields | {"choices": options, "answer": other})
        wrong, right = [name for name in row if WRONG.fullmatch(name)], _named(row, RIGHT, str)
        if wrong and right:  # SciQ: the right choice in a field of its own
            return Kind("choices", fields | {"choices": [right, *wrong], "answer": 0})
        if (reply := _named(row, REPLY, str)) and reply != question:
            return Kind("free", fields | {"answer": reply})
    text, label = _named(row, TEXT, str), _named(row, LABEL, str | int)
    if text and label and label != text:
        return Kind("labels", {"question": text, "label": label})
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


def _spec(kind: Kind, rows: Sequence[Row]) -> dict[str, Any]:
    """The set of a domain's YAML that reads rows of a kind."""
    if kind.free:  # conversations always use the model's chat template
        chat = {"chat_template": True} if kind.name == "free" else {}
        return kind.parsing | {"construct": {"kind": "free"}} | chat
    if kind.name == "choices":
        return kind.parsing | {"prompt": WITH_CONTEXT if "context" in kind.fields else PROMPT}
    labels = sorted({one.label for one in rows})
    construct: dict[str, Any] = {"kind": "label", "labels": {name: name for name in labels}}
    construct |= {"choices": OFFERED} if len(labels) > MOST_LABELS else {}
    spec = kind.parsing | {"construct": construct, "prompt": "{question}\nLabel:"}
    if max(len(one.question) for one in rows) > 4000:
        spec["question"] = {"first_characters": 4000}
    return spec
