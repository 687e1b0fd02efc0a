"""Rows: the fields of a published data set, read into question, choices and answer.

Which field means what stands in the domain's YAML (`fields`). Choices may be a list, several
fields, a text of lettered lines (`A. one`, `B. two`), a mapping with `text` and `label`, or
constant; the answer may be an index, a letter, a lettered line (`B. two`), the text of a choice or
a truth value. `format: chat` reads the samples of the `evals` package, where the last message of
the user holds the question and its lettered options.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_LETTERED = re.compile(r"^[ \t]*\(?([A-Za-z])[.:)][ \t]+", re.MULTILINE)


class RowError(ValueError):
    """This row does not parse. The message says why and quotes nothing of the row."""


@dataclass(frozen=True)
class Row:
    """One parsed row. `choices` is empty where the data set has none."""

    question: str
    choices: tuple[str, ...] = ()
    answer: int | None = None
    answer_text: str = ""
    context: str = ""
    label: str = ""
    group: str = ""
    """What it shares with rows that must stay in one split; its question where this is empty."""


def lettered(text: str) -> tuple[str, tuple[str, ...]]:
    """Split a text into what precedes its lettered options and the options themselves.

    Only letters that follow each other from A (or a) on open an option, so that an option that
    itself holds a line such as "I. first" stays whole.
    """
    starts: list[re.Match[str]] = []
    for match in _LETTERED.finditer(text):
        if _place(match[1]) == len(starts):
            starts.append(match)
    if len(starts) < 2:
        raise RowError("no lettered options")
    ends = [*(match.start() for match in starts[1:]), len(text)]
    pairs = zip(starts, ends, strict=True)
    options = tuple(text[match.end() : end].strip() for match, end in pairs)
    if not all(options):
        raise RowError("an empty option")
    return text[: starts[0].start()].strip(), options


def _place(letter: str) -> int:
    return ord(letter.lower()) - ord("a")


def answer_index(value: Any, choices: Sequence[str]) -> int:
    """Index of the right choice from an index, a letter, a lettered line or the choice's text."""
    if not isinstance(value, str | int):
        raise RowError("the answer is neither a number nor a text")
    text = str(value).strip()
    plain = [choice.strip().lower() for choice in choices]
    is_index = type(value) is int
    if not is_index and plain.count(text.lower()) == 1:
        return plain.index(text.lower())
    match = _LETTERED.match(text)
    if is_index or re.fullmatch(r"\d+", text):
        index = int(text)
    elif re.fullmatch(r"\(?[A-Za-z][.:)]?", text):
        index = _place(text.strip("(.:)"))
    elif match:
        index = _place(match[1])
    else:
        raise RowError("the answer is none of the choices")
    if not 0 <= index < len(choices):
        raise RowError(f"answer {index} of {len(choices)} choices")
    if match and plain[index] != text[match.end() :].strip().lower():
        raise RowError("the answer's letter and text name different choices")
    return index


def parse_row(row: Any, how: Mapping[str, Any]) -> Row:
    """Parse one row as the domain's YAML says.

    Args:
        row: the JSON object (or row of a table) as it was read.
        how: `format` ("fields" or "chat"), `fields`, and `label` where all rows have the same.

    Raises:
        RowError: the row does not hold what it should.
    """
    if not isinstance(row, Mapping):
        raise RowError("not an object")
    if how.get("format", "fields") == "chat":
        row, fields = _of_chat(row), {name: name for name in ("question", "choices", "answer")}
    else:
        fields = how["fields"]
    names = fields["question"]
    names = [names] if isinstance(names, str) else names
    question = " ".join(_text(row, name) for name in names).strip()
    if not question:
        raise RowError("an empty question")
    context = _text(row, fields["context"]).strip() if "context" in fields else ""
    label = _value(row, fields["label"]) if "label" in fields else ""
    choices, known = _choices(row, fields["choices"]) if "choices" in fields else ((), {})
    index, text = None, ""
    if "answer" in fields and choices:
        answer = fields["answer"]
        # A number in the YAML is the index itself: some data sets keep the right choice in place.
        value = answer if isinstance(answer, int) else _value(row, answer)
        index = known[str(value)] if str(value) in known else answer_index(value, choices)
        text = choices[index]
    elif "answer" in fields and not (text := _text(row, fields["answer"]).strip()):
        raise RowError("an empty answer")
    return Row(question, choices, index, text, context, str(how.get("label", label)))


def _of_chat(row: Mapping[str, Any]) -> dict[str, Any]:
    """Question, choices and answer of a sample of `evals`."""
    messages = row.get("input")
    if not isinstance(messages, list) or "ideal" not in row:
        raise RowError("no input or ideal")
    spoken = [m for m in messages if isinstance(m, Mapping) and m.get("role") == "user"]
    said = spoken[-1].get("content") if spoken else None
    if not isinstance(said, str):
        raise RowError("no message of the user")
    question, choices = lettered(re.sub(r"\s*\bAnswer:\s*$", "", said))
    return {"question": question, "choices": list(choices), "answer": row["ideal"]}


def _choices(row: Mapping[str, Any], where: Any) -> tuple[tuple[str, ...], dict[str, int]]:
    """The choices, and the index of each by the name that the answer may call it by."""
    names: Sequence[Any] = ()
    if isinstance(where, Mapping):  # constant: text shown -> value in the row
        choices, names = list(where), list(where.values())
    elif isinstance(where, list):
        choices = [_text(row, name) for name in where]
    else:
        choices = _value(row, where)
        if isinstance(choices, Mapping):
            choices, names = choices.get("text"), choices.get("label", ())
        elif isinstance(choices, str):
            choices = lettered(choices)[1]
    if not isinstance(choices, Sequence) or not choices:
        raise RowError("choices are neither a list nor lettered lines")
    texts = tuple(str(choice).strip() for choice in choices)
    if not all(texts):
        raise RowError("an empty choice")
    return texts, {str(name): index for index, name in enumerate(names)}


def _value(row: Mapping[str, Any], name: str) -> Any:
    value = row.get(name)
    if value is None:
        raise RowError(f"no field {name}")
    return value


def _text(row: Mapping[str, Any], name: str) -> str:
    value = _value(row, name)
    if not isinstance(value, str):
        raise RowError(f"field {name} is not a text")
    return value
