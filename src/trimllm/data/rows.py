"""Rows: the fields of a published data set, read into question, choices and answer.

A domain's YAML maps fields to their roles (`fields`). Choices: a list, several fields, a text of
lettered lines (`A. one`, `B. two`), a mapping with `text` and `label`, or constant. Answers: an
index, a letter, a lettered line (`B. two`), the text of a choice or a truth value.
`format: messages` reads conversations, whose last message of the assistant is the answer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trimllm.data.document import bare

MAX_FAILED = 0.05
"""Share of rows that may fail to parse, or of training documents that may be test documents."""
LONGEST = 1_000_000
"""Characters of a text. A longer one comes of a file that lost its line breaks."""
ROLES = ("system", "user", "assistant")
_LETTERED = re.compile(r"^[ \t]*\(?([A-Za-z])[.:)][ \t]+", re.MULTILINE)
_SURROGATE = re.compile(r"[\ud800-\udfff]")
"""Half of a character, which JSON can spell ("\\ud800") and no file of UTF-8 can hold."""


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
    messages: tuple[tuple[str, str], ...] = ()
    """(role, content) of a conversation until the answer; none where the row is no conversation."""
    where: str = ""
    """File and line."""
    drawn: bool = False
    """Whether its wrong choices were drawn from other rows and are no part of the question."""


def parse_row(row: Any, how: Mapping[str, Any]) -> Row:
    """Parse one row as the domain's YAML says.

    Args:
        row: the JSON object (or row of a table) as it was read.
        how: `format` ("fields" or "messages"), `fields`, and `label` where all rows have the same.

    Raises:
        RowError: the row does not hold what it should.
    """
    if not isinstance(row, Mapping):
        raise RowError("not an object")
    if how.get("format") == "messages":
        return _of_messages(row)
    fields: Any = how["fields"]
    names = [fields["question"]] if isinstance(fields["question"], str) else fields["question"]
    question = " ".join(_text(row, name) for name in names).strip()
    if not question:
        raise RowError("an empty question")
    context = _text(row, fields["context"]).strip() if "context" in fields else ""
    label = _whole(str(_value(row, fields["label"])), "label").strip() if "label" in fields else ""
    if not label and "label" in fields:
        raise RowError("an empty label")
    choices: tuple[str, ...] = ()
    index, text = None, ""
    if "choices" in fields:
        choices, index = _chosen(row, fields)
        text = "" if index is None else choices[index]
    elif "answer" in fields and not (text := _text(row, fields["answer"]).strip()):
        raise RowError("an empty answer")
    return Row(question, choices, index, text, context, str(how.get("label", label)))


def _chosen(
    row: Mapping[str, Any], fields: Mapping[str, Any]
) -> tuple[tuple[str, ...], int | None]:
    """The choices, and the index of the right one; None where no field holds it."""
    where, names = fields["choices"], []
    choices: Any
    if isinstance(where, Mapping):  # constant: text shown -> value in the row
        choices, names = list(where), list(where.values())
    elif isinstance(where, list):
        choices = [_text(row, name) for name in where]
    else:
        choices = _value(row, where)
        if isinstance(choices, Mapping):
            choices, names = choices.get("text"), choices.get("label", [])
        elif isinstance(choices, str):
            choices = lettered(choices)
    if not isinstance(choices, Sequence) or not choices:
        raise RowError("choices are neither a list nor lettered lines")
    texts = tuple(_whole(str(choice), "choice").strip() for choice in choices)
    if not all(texts):
        raise RowError("an empty choice")
    answer = fields.get("answer")
    if isinstance(answer, int | None):  # the index itself: the right choice is always in one place
        return texts, answer
    value = _value(row, answer)
    if str(value) in (known := [str(name) for name in names]):
        return texts, known.index(str(value))
    # Of choices that are numbers a number may be the text.
    typed = type(value) is int and all(isinstance(choice, str) for choice in choices)
    return texts, answer_index(
        value, texts, fields.get("answer_is") or ("index" if typed else None)
    )


def lettered(text: str) -> tuple[str, ...]:
    """The lettered options of a text.

    Only letters that follow each other from A (or a) on open an option, so that an option that
    itself holds a line such as "I. first" stays whole.
    """
    starts: list[re.Match[str]] = []
    for match in _LETTERED.finditer(text):
        if _place(match[1]) == len(starts):
            starts.append(match)
    ends = [*(match.start() for match in starts[1:]), len(text)]
    options = tuple(text[one.end() : end].strip() for one, end in zip(starts, ends, strict=False))
    if len(options) < 2:
        raise RowError("no lettered options")
    if not all(options):
        raise RowError("an empty option")
    return options


def _place(letter: str) -> int:
    return ord(letter.lower()) - ord("a")


def answer_index(value: Any, choices: Sequence[str], reading: str | None = None) -> int:
    """Index of the right choice.

    Args:
        value: an index (from 0), a letter, a lettered line or the text of a choice.
        reading: "index", "letter" or "text"; None takes the one that fits.

    Raises:
        RowError: no reading fits, or two of them mean different choices.
    """
    if not isinstance(value, str | int):
        raise RowError("the answer is neither a number nor a text")
    text, texts = str(value).strip(), [choice.strip().lower() for choice in choices]
    readings = {}
    if texts.count(text.lower()) == 1:
        readings["text"] = texts.index(text.lower())
    if re.fullmatch(r"\d+", text):
        readings["index"] = int(text)
    elif re.fullmatch(r"\(?[A-Za-z][.:)]?", text):
        readings["letter"] = _place(text.strip("(.:)"))
    elif not readings and (match := _LETTERED.match(text)):
        place = readings["letter"] = _place(match[1])
        if place < len(texts) and texts[place] != text[match.end() :].strip().lower():
            raise RowError("the answer's letter and text name different choices")
    readings = {one: index for one, index in readings.items() if reading in (None, one)}
    if not readings:
        raise RowError("the answer is none of the choices")
    inside = {one: index for one, index in readings.items() if index < len(choices)}
    if not inside:
        raise RowError(f"answer {max(readings.values())} of {len(choices)} choices")
    if len({*inside.values()}) > 1:
        text, other = inside
        raise RowError(
            f"the answer is the {text} of one choice and the {other} of another; set "
            "fields.answer_is to the one that counts"
        )
    return next(iter(inside.values()))


def _of_messages(row: Mapping[str, Any]) -> Row:
    """A conversation until the last message of the assistant, and that message as the answer.

    Rows that begin with the same question of the user may be one conversation, cut at several
    places, so they are of one group. In plain text each message follows its role.
    """
    messages = _value(row, "messages")
    if not isinstance(messages, list | tuple):
        raise RowError("field messages is not a list")
    read = []
    for number, message in enumerate(messages, start=1):
        if not isinstance(message, Mapping) or message.get("role") not in ROLES:
            raise RowError(f"message {number} has no role of {', '.join(ROLES)}")
        read.append((message["role"], _text(message, "content").strip()))
        if not read[-1][1]:
            raise RowError(f"message {number} is empty")
    last = max((at for at, (role, _) in enumerate(read) if role == "assistant"), default=None)
    if last is None:
        raise RowError("no message of the assistant, whose last one is the answer")
    before = tuple(read[:last])
    questions = [content for role, content in before if role == "user"]
    if not questions:
        raise RowError("no message of the user before the answer")
    question = questions[0]
    if len(before) > 1:
        question = "\n".join(f"{role.capitalize()}: {content}" for role, content in before)
    return Row(question, answer_text=read[last][1], group=bare(questions[0]), messages=before)


def _value(row: Mapping[str, Any], name: str) -> Any:
    value = row.get(name)
    if value is None:
        hint = " (but messages: format: messages?)" if "messages" in row else ""
        raise RowError(f"no field {name}{hint}")
    return value


def _text(row: Mapping[str, Any], name: str) -> str:
    value = _value(row, name)
    if not isinstance(value, str):
        raise RowError(f"field {name} is not a text")
    if len(value) > LONGEST:
        raise RowError(f"field {name} has {len(value):,} characters, more than {LONGEST:,}")
    return _whole(value, f"field {name}")


def _whole(text: str, what: str) -> str:
    """The text, if it can be written in UTF-8."""
    if half := _SURROGATE.search(text):
        raise RowError(f"{what} holds half a character (\\u{ord(half[0]):x})")
    return text
