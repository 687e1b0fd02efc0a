"""Rows: the fields of a published data set, parsed into question, choices and answer.

A domain's YAML maps fields to their roles (`fields`). Choices: a list, several fields, a text of
lettered lines (`A. one`, `B. two`), a mapping with `text` and `label`, or constant. Answers: an
index, a letter, a lettered line, the text of a choice or a truth value. `format: messages` reads
conversations, whose last message of the assistant is the answer.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trimllm.data.document import bare, normalised

# Share of rows that may fail to parse, or of training documents that may be test documents.
MAX_FAILED = 0.05
ROLES = ("system", "user", "assistant")
_LETTERED = re.compile(r"^[ \t]*\(?([A-Za-z])[.:)][ \t]+", re.MULTILINE)


class RowError(ValueError):
    """A row that does not parse. The message says why and quotes nothing of the row."""


@dataclass(frozen=True)
class Row:
    """A parsed row, to which `construct` adds the document."""

    question: str
    choices: tuple[str, ...] = ()
    answer: int | None = None
    answer_text: str = ""  # the right choice, or the free answer
    context: str = ""
    label: str = ""
    group: str = ""  # equal for rows that must stay in one split; empty: the question
    messages: tuple[tuple[str, str], ...] = ()  # (role, content) before the answer
    where: str = ""  # file and line
    drawn: bool = False  # whether wrong choices were drawn and are no part of the question
    stratum: int | None = None  # the class, if splits must hold all classes in equal shares
    document: Any = None  # `Document`

    def __post_init__(self) -> None:
        texts = (self.question, *self.choices, self.answer_text, self.context, self.label)
        if re.search("[\ud800-\udfff]", "".join(texts)):
            raise RowError("half a character")  # JSON can spell it ("\ud800"), UTF-8 cannot

    def content(self, by_prompt: bool = False) -> str:
        """Equal for the same documents: prompt and, unless drawn, choices; or the prompt alone."""
        compared = () if by_prompt or self.drawn else self.document.choices
        return "\0".join((bare(self.document.prompt), *sorted(map(normalised, compared))))


def parse_row(row: Any, spec: Mapping[str, Any]) -> Row:
    """Parse a row (a JSON object, or the row of a table) as a domain's YAML says, by its `format`,
    `fields` and `label`. `RowError` if the row does not hold what it should, or is one."""
    if isinstance(row, RowError):
        raise row
    if isinstance(row, Row):  # a task's, with its document
        return row
    if not isinstance(row, Mapping):
        raise RowError("not an object")
    if spec.get("format") == "messages":
        return _parse_messages(row)
    fields: Any = spec["fields"]
    names = [fields["question"]] if isinstance(fields["question"], str) else fields["question"]
    question = _filled(" ".join(_text(row, name) for name in names), "question")
    context = _text(row, fields["context"]).strip() if "context" in fields else ""
    label = _filled(str(_value(row, fields["label"])), "label") if "label" in fields else ""
    choices: tuple[str, ...] = ()
    answer, text = None, ""
    if "choices" in fields:
        choices, answer = _parse_choices(row, fields)
        if answer is not None and answer >= len(choices):
            raise RowError(f"answer {answer} of {len(choices)} choices")
        text = "" if answer is None else choices[answer]
    elif "answer" in fields:
        text = _filled(_text(row, fields["answer"]), "answer")
    return Row(question, choices, answer, text, context, str(spec.get("label", label)))


def _parse_choices(
    row: Mapping[str, Any], fields: Mapping[str, Any]
) -> tuple[tuple[str, ...], int | None]:
    """The choices, and the index of the right one; None if no field holds it."""
    field, labels = fields["choices"], []
    choices: Any
    if isinstance(field, Mapping):  # constant: text shown -> value in the row
        choices, labels = list(field), list(field.values())
    elif isinstance(field, list):
        choices = [_text(row, name) for name in field]
    else:
        choices = _value(row, field)
        if isinstance(choices, Mapping):
            choices, labels = choices.get("text"), choices.get("label", [])
        elif isinstance(choices, str):
            choices = lettered(choices)
    if not isinstance(choices, Sequence) or not choices:
        raise RowError("choices are neither a list nor lettered lines")
    texts = tuple(_filled(str(choice), "choice") for choice in choices)
    answer = fields.get("answer")
    if isinstance(answer, int | None):  # the index itself: the right choice is always in one place
        return texts, answer
    value, labels = _value(row, answer), [str(label) for label in labels]
    if str(value) in labels:
        return texts, labels.index(str(value))
    reading = fields.get("answer_is")
    if not reading and type(value) is int and all(isinstance(choice, str) for choice in choices):
        reading = "index"  # where choices are numbers, a number may be a text
    return texts, _answer_index(value, texts, reading)


def lettered(text: str) -> tuple[str, ...]:
    """The lettered options of a text. Only letters that follow each other from A (or a) on start an
    option, so one that holds a line such as "I. first" stays whole."""
    starts, ends = list[int](), list[int]()
    for match in _LETTERED.finditer(text):
        if ord(match[1].lower()) - ord("a") == len(starts):
            starts.append(match.end())
            ends.append(match.start())
    options = tuple(text[i:j].strip() for i, j in zip(starts, [*ends[1:], len(text)], strict=False))
    if len(options) < 2 or not all(options):
        raise RowError("an empty option" if len(options) > 1 else "no lettered options")
    return options


def _answer_index(value: Any, choices: Sequence[str], reading: str | None) -> int:
    """Index of the right choice, whose `value` is an index (from 0), a letter, a lettered line or
    its text. `reading` ("index", "letter", "text") says which; None takes the one that fits."""
    text, texts = str(value).strip().lower(), [choice.lower() for choice in choices]
    readings = {}
    if texts.count(text) == 1:
        readings["text"] = texts.index(text)
    if text.isdecimal():
        readings["index"] = int(text)
    elif match := re.fullmatch(r"\(?([a-z])(?:[.:)](?:[ \t]+(.+))?)?", text, re.DOTALL):
        letter = ord(match[1]) - ord("a")
        if match[2] in (None, *texts[letter : letter + 1]):
            readings["letter"] = letter
    readings = {name: index for name, index in readings.items() if reading in (None, name)}
    if not readings:
        raise RowError("the answer is none of the choices")
    inside = {index for index in readings.values() if index < len(choices)}
    if not inside:
        raise RowError(f"answer {max(readings.values())} of {len(choices)} choices")
    if len(inside) > 1:
        raise RowError(
            f"the answer is the {' of one choice and the '.join(readings)} of another; set "
            "fields.answer_is to the one that counts"
        )
    return inside.pop()


def _parse_messages(row: Mapping[str, Any]) -> Row:
    """A conversation until the last message of the assistant, which is the answer. Rows with the
    same first question may be one conversation, cut at several places, so they form one group."""
    messages, turns = _value(row, "messages"), []
    if not isinstance(messages, list | tuple):
        raise RowError("field messages is not a list")
    for number, message in enumerate(messages, start=1):
        if not isinstance(message, Mapping) or message.get("role") not in ROLES:
            raise RowError(f"message {number} has no role of {', '.join(ROLES)}")
        content = _filled(_text(message, "content"), f"message {number}")
        turns.append((message["role"], content))
    while turns and turns[-1][0] != "assistant":
        turns.pop()
    before = tuple(turns[:-1])
    questions = [content for role, content in before if role == "user"]
    if not questions:
        raise RowError("no message of the user that the assistant answers")
    question = questions[0]
    if len(before) > 1:
        question = "\n".join(f"{role.capitalize()}: {content}" for role, content in before)
    return Row(question, answer_text=turns[-1][1], group=bare(questions[0]), messages=before)


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


def _filled(text: str, what: str) -> str:
    """The text without blanks at its ends."""
    if not text.strip():
        raise RowError(f"an empty {what}")
    return text.strip()
