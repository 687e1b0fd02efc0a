"""A look at a file of documents, before anything is made of it: which kind, which fields, sound?

What is wrong is one line that names the file, the line in it and what to do.
"""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trimllm.base.errors import UserError
from trimllm.data.construct import PROMPT, WITH_CONTEXT
from trimllm.data.document import bare
from trimllm.data.rows import MAX_FAILED, Row, RowError, parse_row
from trimllm.data.sources import SUFFIXES, read_source
from trimllm_paper.own.model import HUB_ID

MOST_LABELS, OFFERED = 20, 8
"""Labels that are all offered as choices; of more, so many are drawn."""
QUESTION = ("question", "query", "prompt", "q", "goal", "stem", "problem", "instruction", "input")
TEXT = ("text", "sentence", "content", "review", "document", "message", "body", "tweet", "title")
CHOICES = ("choices", "options", "candidates", "endings", "alternatives", "c")
ANSWER = (
    *("answer", "label", "answer_key", "answerkey", "correct", "correct_answer", "gold"),
    *("target", "answer_idx", "answer_index", "solution", "a"),
)
REPLY = ("response", "output", "completion", "reply", "answer_text")
LABEL = ("label", "class", "category", "intent", "topic", "sentiment", "tag", "target", "answer")
CONTEXT = ("context", "passage", "support", "background", "article", "evidence")
_OPTION = re.compile(r"(option|choice|opt|ending|sol|op|answer)?[_ ]?([a-j]|[0-9])", re.I)
WRONG = re.compile(r"(distractor|incorrect|wrong)[_ a-z]*[0-9]*", re.I)


@dataclass(frozen=True)
class Kind:
    """What a file holds.

    Attributes:
        name: "choices" (questions with choices), "labels" (texts with a label), "free" (questions
            with free answers) or "messages" (conversations, whose last message is the answer).
        fields: as a domain's YAML names them; none of conversations.
    """

    name: str
    fields: Mapping[str, Any]

    def __str__(self) -> str:
        return ", ".join(str(field) for field in _flat(self.fields.values())) or self.name

    @property
    def how(self) -> dict[str, Any]:
        """How `trimllm.data.rows` parses a row of it."""
        return {"fields": dict(self.fields)} if self.fields else {"format": "messages"}

    @property
    def free(self) -> bool:
        """Whether its answers are free text."""
        return self.name in ("free", "messages")


@dataclass(frozen=True)
class Found:
    """A file, or a data set of the hub, that was looked at.

    Attributes:
        source: that reads it, as a domain's YAML names one.
        rows: rows in all, and `failed`, those that do not parse, in words.
        answers: how often each place (or label) is right.
        documents: rows that parse and differ.
        spec: a set of a domain's YAML that reads it, `from` apart.
    """

    path: Path
    source: Mapping[str, str]
    kind: Kind
    rows: int
    failed: tuple[str, ...]
    answers: Mapping[str, int]
    documents: int
    spec: Mapping[str, Any] = field(default_factory=dict)


def _flat(values: Iterable[Any]) -> Iterator[Any]:
    for value in values:
        yield from value if isinstance(value, list) else [value]


def look(path: Path) -> Found:
    """Read a file, tell its kind and check every row.

    Args:
        path: of a file, or OWNER/NAME or OWNER/NAME:SPLIT of a data set of the hub.

    Raises `UserError`: it cannot be read, is of no kind or of several, more than 5% of its rows do
    not parse, or every row has the same answer.
    """
    source = source_of(path)
    rows = read(source)
    if not rows:
        raise UserError(f"{path} holds no rows")
    kind = kind_of_all(path, rows)
    failed = []
    parsed = []
    for where, row in rows:
        try:
            if isinstance(row, RowError):
                raise row
            parsed.append(_parsed(row, kind))
        except RowError as reason:
            failed.append(f"{where}: {reason}")
    if len(failed) > MAX_FAILED * len(rows):
        few = f"{len(failed)} of {len(rows)} rows do not parse; the first is {failed[0]}"
        raise UserError(f"{few}{_hint(kind, rows, failed[0])}")
    labels = kind.name == "labels"
    right = Counter(one.label if labels else one.answer_text for one in parsed)
    if len(right) < 2:
        what = "label" if labels else "answer" if kind.free else "right answer"
        raise UserError(
            f"{path}: all {len(parsed)} rows have the {what} {next(iter(right))[:80]!r}; there is "
            "nothing to tell apart"
        )
    documents = len({_content(one) for one in parsed})
    if kind.free:
        return Found(path, source, kind, len(rows), tuple(failed), {}, documents, _free(kind))
    places = right if labels else Counter(str(one.answer) for one in parsed)
    spec = _labelled(kind, right, parsed) if labels else _chosen(kind)
    ordered = dict(sorted(places.items()) if not labels else places.most_common())
    return Found(path, source, kind, len(rows), tuple(failed), ordered, documents, spec)


def _content(row: Row) -> tuple[str, ...]:
    """What makes two rows one document: `Item.content` before there is an item."""
    answers = sorted(map(bare, row.choices or [row.answer_text]))
    return bare(f"{row.context} {row.question}"), *answers


def _parsed(row: Any, kind: Kind) -> Row:
    answer = kind.fields.get("answer", kind.fields.get("label"))
    if isinstance(row, Mapping) and isinstance(answer, str):
        value = row.get(answer)
        if value is None or not str(value).strip():
            raise RowError(f"an empty {answer}")
    return parse_row(row, kind.how)


def questions(found: Found) -> dict[str, str]:
    """Every question (or text) of a file, as `bare` has it, and where it stands."""
    places: dict[str, str] = {}
    for where, row in read(found.source):
        with contextlib.suppress(RowError):
            one = parse_row(row, found.kind.how)
            places.setdefault(one.group or _content(one)[0], where)
    return places


# ---- rows ----------------------------------------------------------------------------------------


def source_of(path: Path) -> dict[str, str]:
    """What reads a file, or a data set of the hub (its split `train`, where none is named), whose
    commit is asked for, so that a run reads what was looked at."""
    name, _, split = str(path).partition(":")
    if path.exists() or path.suffix in SUFFIXES or not HUB_ID.fullmatch(name):
        return {"file": str(path)}
    import httpx
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    try:
        revision = HfApi().dataset_info(name).sha
    except (OSError, ValueError, HfHubHTTPError, httpx.HTTPError) as error:
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise UserError(
            f"{path} does not exist here, and the hub has no such data set, or cannot be asked "
            f"({reason})"
        ) from None
    return {"hub": name, "revision": str(revision), "split": split or "train"}


def read(source: Mapping[str, str]) -> list[tuple[str, Any]]:
    """(place, row) of a source; a line that is no JSON is a `RowError`.

    Raises `UserError` for a file that is not there, empty, in another encoding than UTF-8, or holds
    a line that is too long to be a document, and for a data set that cannot be read.
    """
    if "hub" in source:
        return read_source(source).rows
    path = Path(source["file"])
    if not path.is_file():
        raise UserError(f"{path} does not exist")
    if not path.stat().st_size:
        raise UserError(f"{path} is empty")
    with path.open("rb") as stream:
        if path.suffix == ".jsonl" and stream.read(1) == b"[":
            raise UserError(
                f"{path} is one JSON list, not a document a line; call it "
                f"{path.with_suffix('.json').name}"
            )
    return read_source(source).rows


# ---- kinds ---------------------------------------------------------------------------------------


def kind_of_all(path: Path, rows: Sequence[tuple[str, Any]]) -> Kind:
    """The kind of the rows of a file. Raises `UserError` for none, and for several."""
    by_keys: dict[tuple[str, ...], Kind | None] = {}
    kinds: list[tuple[str, Kind]] = []
    unknown: list[tuple[str, Mapping[str, Any]]] = []
    for where, row in rows:
        if not isinstance(row, Mapping):
            continue
        keys = tuple(row)
        if keys not in by_keys:
            by_keys[keys] = kind_of(row)
        if kind := by_keys[keys]:
            kinds.append((where, kind))
        else:
            unknown.append((where, row))
    if not kinds:
        _refuse_unknown(path, rows, unknown)
    counts = Counter(str(kind) for _, kind in kinds)
    wanted = counts.most_common(1)[0][0]
    others = [(where, kind) for where, kind in kinds if str(kind) != wanted]
    if len(others) > MAX_FAILED * len(rows):
        first = next(where for where, kind in kinds if str(kind) == wanted)
        raise UserError(
            f"{path} mixes kinds of rows: {first} has {wanted}, {others[0][0]} has {others[0][1]} "
            f"({len(others)} of {len(rows)} rows); put each kind into a file of its own"
        )
    return next(kind for _, kind in kinds if str(kind) == wanted)


def _refuse_unknown(path: Path, rows: Sequence[Any], unknown: Sequence[Any]) -> None:
    where, first = rows[0]
    said = f"fields {', '.join(unknown[0][1])}" if unknown else f"{first!r:.80}"
    raise UserError(
        f"{path}: {unknown[0][0] if unknown else where} has {said}: neither question and answer "
        "(with choices or without), nor text and label, nor messages"
    )


def kind_of(row: Mapping[str, Any]) -> Kind | None:
    """The kind of one row, by the names and values of its fields; None for none that is known."""
    if _named(row, ("messages",), list | tuple):
        return Kind("messages", {})
    question = _named(row, QUESTION, str)
    context = _named(row, CONTEXT, str)
    more = {"context": context} if context else {}
    if question:
        more = {"question": question} | more
        listed = _named(row, CHOICES, list | dict | str)
        answer = _named(row, ANSWER, int | str)
        if listed and answer:
            return Kind("choices", more | {"choices": listed, "answer": answer})
        if found := _options(row):
            answer = _named(row, [name for name in ANSWER if name not in found], int | str)
            if answer and answer not in found:
                return Kind("choices", more | {"choices": found, "answer": answer})
        wrong = [name for name in row if WRONG.fullmatch(name)]
        right = _named(row, ("correct_answer", "correct", "answer", "best_answer"), str)
        if wrong and right:  # as in SciQ: the right one in a field of its own
            return Kind("choices", more | {"choices": [right, *wrong], "answer": 0})
    text = _named(row, TEXT, str)
    label = _named(row, LABEL, str | int)
    if text and label and label != text:
        return Kind("labels", {"question": text, "label": label})
    answer = _named(row, (*ANSWER, *REPLY), str)
    if question and answer and answer != question:
        return Kind("free", more | {"answer": answer})
    return None


def _named(row: Mapping[str, Any], names: Iterable[str], of: Any = object) -> str | None:
    """The field with the first of some names, letter case apart, whose value is of a type."""
    lower = {str(name).lower(): name for name in row}
    found = (lower[name] for name in names if name in lower)
    return next((name for name in found if isinstance(row[name], of)), None)


def _options(row: Mapping[str, Any]) -> list[str]:
    """Fields that hold a choice each: A to D, option_a, ending0, sol1."""
    groups: dict[str, list[str]] = {}
    for name in row:
        if (match := _OPTION.fullmatch(str(name))) and isinstance(row[name], str):
            groups.setdefault(f"{match[1]}{match[2].isdigit()}".lower(), []).append(name)
    found = max(groups.values(), key=len, default=[])
    return sorted(found, key=str.lower) if len(found) > 1 else []


def _hint(kind: Kind, rows: Sequence[tuple[str, Any]], first: str) -> str:
    answer = kind.fields.get("answer")
    if " choices" not in first or not isinstance(answer, str):
        return ""
    values = [row.get(answer) for _, row in rows if isinstance(row, Mapping)]
    numbers = [value for value in values if type(value) is int]
    if numbers and min(numbers) == 1:
        return "; answers count from 0, these seem to count from 1"
    return "; answers count from 0"


# ---- how a domain's YAML reads them --------------------------------------------------------------


def _chosen(kind: Kind) -> dict[str, Any]:
    prompt = WITH_CONTEXT if "context" in kind.fields else PROMPT
    return {"fields": dict(kind.fields), "prompt": prompt}


def _free(kind: Kind) -> dict[str, Any]:
    """Questions are asked as in a chat where the model has a template; conversations are anyway."""
    chat = {"chat_template": True} if kind.name == "free" else {}
    return kind.how | {"construct": {"kind": "free"}} | chat


def _labelled(kind: Kind, labels: Counter[str], rows: Sequence[Any]) -> dict[str, Any]:
    construct: dict[str, Any] = {"kind": "label", "labels": {name: name for name in sorted(labels)}}
    construct["noun"] = "label"
    if len(labels) > MOST_LABELS:
        construct["choices"] = OFFERED
    found = {"fields": dict(kind.fields), "construct": construct, "prompt": "{question}\nLabel:"}
    if max(len(one.question) for one in rows) > 4000:
        found["question"] = {"first_characters": 4000}
    return found
