"""Rows: the fields of a published data set, read into question, choices and answer.

Which field means what stands in the domain's YAML (`fields`). Choices may be a list, several
fields, a text of lettered lines (`A. one`, `B. two`), a mapping with `text` and `label`, or
constant; the answer may be an index, a letter, a lettered line (`B. two`), the text of a choice or
a truth value. `format: chat` reads the samples of the `evals` package, where the last message of
the user holds the question and its lettered options; `format: messages` reads conversations, whose
last message of the assistant is the answer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trimllm.data.document import bare

_LETTERED = re.compile(r"^[ \t]*\(?([A-Za-z])[.:)][ \t]+", re.MULTILINE)
_SURROGATE = re.compile(r"[\ud800-\udfff]")
"""Half of a character, which JSON can spell ("\\ud800") and no file of UTF-8 can hold."""


MAX_FAILED = 0.05
"""Share of rows that may fail to parse, or of training documents that may be test documents."""
LONGEST = 1_000_000
"""Characters of a text. Longer ones are no question or answer, but files that lost their breaks."""
ROLES = ("system", "user", "assistant")


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
    """File and line that it was read from."""


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
        how: `format` ("fields", "chat" or "messages"), `fields`, and `label` where all rows have
            the same.

    Raises:
        RowError: the row does not hold what it should.
    """
    if not isinstance(row, Mapping):
        raise RowError("not an object")
    if (kind := how.get("format", "fields")) == "messages":
        return _of_messages(row)
    if kind == "chat":
        row = _of_chat(row)
        fields: Any = {name: name for name in ("question", "choices", "answer")}
    else:
        fields = how["fields"]
    asked = fields["question"]
    names = [asked] if isinstance(asked, str) else asked
    question = " ".join(_text(row, name) for name in names).strip()
    if not question:
        raise RowError("an empty question")
    context = _text(row, fields["context"]).strip() if "context" in fields else ""
    label = _whole(str(_value(row, fields["label"])), "label").strip() if "label" in fields else ""
    if not label and "label" in fields:
        raise RowError("an empty label")
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


def _of_messages(row: Mapping[str, Any]) -> Row:
    """A conversation until the last message of the assistant, and that message as the answer.

    Rows that begin with the same question of the user may be one conversation, cut at several
    places, so they are of one group. In plain words roles stand before what they say.
    """
    messages = _value(row, "messages")
    if not isinstance(messages, list | tuple):
        raise RowError("field messages is not a list")
    said = []
    for number, message in enumerate(messages, start=1):
        if not isinstance(message, Mapping) or message.get("role") not in ROLES:
            raise RowError(f"message {number} has no role of {', '.join(ROLES)}")
        said.append((message["role"], _text(message, "content").strip()))
        if not said[-1][1]:
            raise RowError(f"message {number} is empty")
    last = max((at for at, (role, _) in enumerate(said) if role == "assistant"), default=None)
    if last is None:
        raise RowError("no message of the assistant, whose last one is the answer")
    before = tuple(said[:last])
    asked = [content for role, content in before if role == "user"]
    if not asked:
        raise RowError("no message of the user before the answer")
    question = asked[0]
    if len(before) > 1:
        question = "\n".join(f"{role.capitalize()}: {content}" for role, content in before)
    return Row(question, answer_text=said[last][1], group=bare(asked[0]), messages=before)


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
    choices: Any
    names: Any = ()
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
    texts = tuple(_whole(str(choice), "choice").strip() for choice in choices)
    if not all(texts):
        raise RowError("an empty choice")
    return texts, {str(name): index for index, name in enumerate(names)}


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
    """The text, which can be written."""
    if found := _SURROGATE.search(text):
        raise RowError(f"{what} holds half a character (\\u{ord(found[0]):x})")
    return text
