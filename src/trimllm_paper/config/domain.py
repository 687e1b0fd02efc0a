"""A domain's file: sets of documents, which of them trains and calibrates, and the tests."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, PrivateAttr
from pydantic_core import PydanticCustomError

from trimllm.data.construct import CHOICE, kind_of
from trimllm_paper.config.parts import Commit, Count, OneOf, Section

Format = Literal["fields", "messages"]
Names = str | Annotated[list[str], Field(min_length=1)]
Choices = (
    str | Annotated[list[str], Field(min_length=2)] | Annotated[dict[str, str], Field(min_length=2)]
)
TaskName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")]
Problem = tuple[list[Any], str]
"""Path of a key, and what is wrong with its value."""


def _template(*allowed: str) -> AfterValidator:
    """Says of a text that it has these in braces, and no others."""

    def check(text: str) -> str:
        try:
            text.format(**dict.fromkeys(allowed, ""))
        except KeyError as error:
            known = ", ".join(f"{{{name}}}" for name in sorted(allowed))
            problem = f"there is no {{{error.args[0]}}} (there are: {known})"
            raise PydanticCustomError("template", problem) from None
        except (ValueError, IndexError) as error:
            raise PydanticCustomError("template", str(error)) from None
        return text

    return AfterValidator(check)


class Fields(Section):
    question: Names
    """Field, or fields that are joined by a space."""
    context: str | None = None
    """Field with a text to read before the question."""
    choices: Choices | None = None
    """Field with a list, with lettered lines or with {text, label}; a list of fields; or constant
    choices, each with the value of the answer that means it."""
    answer: str | int | None = None
    """Field with the index, letter, lettered line, truth value or text of the right answer; or the
    index itself, where it is the same in every row."""
    answer_is: Literal["index", "letter", "text"] | None = None
    """How the answer is read; by default whichever fits. Rows that can be read in two ways are
    refused."""
    label: str | None = None
    """Field with the class of the row, for `construct.kind: label`."""


class _Rows(Section):
    lines: list[Annotated[int, Field(ge=0)]] | None = None
    """Zero-based numbers of the lines to keep."""
    label: str | None = None
    """Class of every row of this source, for `construct.kind: label`."""
    format: Format | None = None
    """Format, where it differs from that of the set."""
    named: Fields | None = Field(default=None, alias="fields")
    """Fields, where they differ from those of the set."""


class WheelRows(_Rows):
    wheel: str
    """An entry of `wheels` in the configuration; read as an archive, never installed."""
    member: Names
    """File or files in the wheel."""


class FileRows(_Rows):
    file: str
    """Local .jsonl, .json, .csv, .tsv or .parquet file; ${VARIABLE} is read from the
    environment."""


class HubRows(_Rows):
    hub: str
    """Id of the data set."""
    revision: Commit
    """Full commit of the data set."""
    name: str | None = None
    """Configuration of the data set."""
    split: str
    """Split of the data set."""


class _Task(Section):
    task: str
    """Name of an lm-eval task, whose prompts are used unchanged."""
    split: Literal["train", "validation", "test"] = "test"
    """Split of the task; `test` falls back to `validation`."""
    include_path: str | None = None
    """Folder with your own lm-eval tasks."""


class TaskRows(_Task, _Rows):
    """Documents of an lm-eval task."""


Source = Annotated[
    WheelRows | FileRows | HubRows | TaskRows,
    OneOf({"wheel": WheelRows, "file": FileRows, "hub": HubRows, "task": TaskRows}),
]


class Cleaning(Section):
    tidy: bool = False
    """Whether to normalize spaces, capitalize the first letter and strip final punctuation, so that
    layout does not give away a text's source."""
    min_characters: Count = 1
    """Shorter texts are left out."""
    max_characters: Count | None = None
    """Longer texts are left out."""
    first_characters: int | None = Field(default=None, ge=10)
    """Texts are cut to this length."""
    without: list[str] = []
    """Texts with one of these words are left out."""


class Construct(Section):
    kind: Literal["own", "label", "free", "answer", "continuation"] | None = None
    """How a row becomes a document: `own`, the row's own choices; `free`, a free answer (default of
    `messages`); `label`, choose the question's class; `answer`, choose the answer among those to
    other questions; `continuation`, choose the last five words of a sentence among those of
    others."""
    labels: dict[str, str] | None = Field(default=None, min_length=2)
    """For `label`: choices, each with its class. Default: all classes of the rows."""
    noun: str = "subject"
    """For `label`: name of a class in the header of the choices."""
    choices: int | None = Field(default=None, ge=2)
    """Number of choices. Default: 4; for `label`, all of them."""
    texts: Cleaning = Cleaning()
    """Limits and clean-up of answers."""


class DocumentSet(Section):
    sources: list[Source] = Field(alias="from", min_length=1)
    """Sources of rows, read one after the other, each with exactly one of `wheel`, `file`, `hub`,
    `task`."""
    format: Format = "fields"
    """`fields` reads the named fields of a row; `messages` reads a conversation (`role` and
    `content` of each message), whose last message of the assistant is the free answer."""
    named: Fields | None = Field(default=None, alias="fields")
    """Which field of a row means what."""
    construction: Construct = Field(default=Construct(), alias="construct")
    """How a row becomes a document."""
    question: Cleaning = Cleaning()
    """Limits and clean-up of the question."""
    prompt: Annotated[str, _template("question", "context", "answer")] | None = None
    """Text before the choices, with {question}, {context} and {answer}. Default: "Question:
    {question}", preceded by the context, and "Answer:" on the next line; for `messages`, the turns
    and "Assistant:"."""
    choice: Annotated[str, _template("choice")] = CHOICE
    """Text of a choice, with {choice}. The leading space is scored."""
    chat_template: bool | None = None
    """Whether prompts use the model's chat template, if it has one. Default: for `messages`
    only."""
    max_characters: Count | None = None
    """Longer documents are left out."""
    balance: bool = False
    """Whether to keep equally many documents of each class."""
    per_class: Count | None = None
    """Maximal number of documents a class, when balanced."""


class _Test(Section):
    documents: Count | None = None
    """Number of documents. Null takes evaluate.documents."""


class SetTest(_Test):
    set: str
    """A set of this file."""


class TaskTest(_Task, _Test):
    """Documents of an lm-eval task."""


Test = Annotated[SetTest | TaskTest, OneOf({"set": SetTest, "task": TaskTest})]


class Expected(Section):
    train: Count | None = None
    """Training documents."""
    test: Count | None = None
    """Documents of all tests."""
    tokens: Count | None = None
    """Mean tokens of a document with all its answers, packed as for a scan."""
    trained: Count | None = None
    """Mean tokens of prompt and right answer. Null takes `tokens`."""


def read_by(raw: Mapping[str, Any]) -> dict[str, Any]:
    """What a domain's documents are made by: all of its file but for what is expected of them."""
    return {key: value for key, value in raw.items() if key != "expected"}


class Domain(Section):
    """What a model is specialized on. One file a domain, in `domains_folder`."""

    label: str = Field(pattern=r"\S")
    """Head of the column in tables."""
    stand_in: str | None = None
    """What is measured, if not the paper's data, for tables."""
    licence: str
    """Licenses of the data sets."""
    train: str | None = None
    """Set to train on. Null: the domain can only stand under `tables.near`."""
    calibration: str | None = None
    """Set to calibrate on, without test documents. Null takes a part of `train`."""
    expected: Expected = Expected()
    """Sizes for plans made before any data is read; no measurement depends on them."""
    sets: dict[str, DocumentSet] = Field(min_length=1)
    """Sets of documents. Training and test documents are split by question."""
    tests: dict[TaskName, Test] = Field(min_length=1)
    """Tests of the column by name, each a set or an lm-eval task; the column is the mean over all
    documents."""

    _name: str = PrivateAttr("")  # of the file, which stands in paths
    _raw: dict[str, Any] = PrivateAttr(default_factory=dict)

    @property
    def name(self) -> str:
        return self._name

    @property
    def raw(self) -> dict[str, Any]:
        """The file's content, as `trimllm.data.prepare` takes it."""
        return self._raw

    def free(self, name: str) -> bool:
        """Whether there is a set of this name, and its documents have free answers."""
        return name in self.sets and kind_of(self.raw["sets"][name]) == "free"

    @property
    def calibrated_freely(self) -> bool:
        """Whether scans see free answers: none of them is right or wrong, only likely."""
        return self.free(self.calibration or self.train or "")

    @property
    def tested_freely(self) -> bool:
        """Whether a test has free answers: its evaluations generate them."""
        return any(self.free(getattr(test, "set", "")) for test in self.tests.values())

    def _sources(self, key: str) -> list[str]:
        """What the sources of all sets have under a key, each once."""
        every = [source for one in self.sets.values() for source in one.sources]
        return list(dict.fromkeys(getattr(one, key) for one in every if hasattr(one, key)))

    @property
    def wheels(self) -> list[str]:
        """Wheels that the domain is read from, each once."""
        return self._sources("wheel")

    @property
    def files(self) -> list[str]:
        """Local files that the domain is read from, each once, environment variables filled in."""
        return [os.path.expanduser(os.path.expandvars(file)) for file in self._sources("file")]

    def problems(self) -> Iterator[Problem]:
        """What a domain's types cannot say: names that are there, fields and classes that fit."""
        named: list[Any] = [([key], getattr(self, key)) for key in ("train", "calibration")]
        named += [(["tests", key, "set"], getattr(t, "set", None)) for key, t in self.tests.items()]
        for path, known in named:
            if known not in (None, "", *self.sets):
                names = ", ".join(sorted(self.sets))
                yield path, f"no set of this domain (there are: {names})"
        for key, one in self.sets.items():
            yield from _set_problems(["sets", key], one, kind_of(self.raw["sets"][key]))


def _set_problems(path: list[Any], one: DocumentSet, kind: str) -> Iterator[Problem]:
    """What is wrong with a set, whose construction is of a kind."""
    classes = sorted((one.construction.labels or {}).values())
    if kind == "label" and classes and (one.construction.choices or 0) > len(classes):
        problem = f"more than there are labels ({len(classes)})"
        yield [*path, "construct", "choices"], problem
    for number, source in enumerate(one.sources):
        place, fields = [*path, "from", number], source.named or one.named
        if isinstance(source, TaskRows):
            if kind != "own":
                yield [*path, "construct", "kind"], "a task has its own choices: leave it out"
        elif (source.format or one.format) == "messages":
            if kind != "free":
                problem = "goes with construct.kind: free alone, whose answer is the last message"
                yield [*path, "construct", "kind"], problem
        elif fields is None:
            yield [*path, "fields"], "missing (or format: messages)"
        elif kind == "free" and fields.answer is None:
            yield [*path, "fields", "answer"], "missing: construct.kind is free"
        elif kind == "label" and fields.label is None and source.label is None:
            yield [*place, "label"], "missing, and so is fields.label: a row needs a class"
        elif kind == "label" and classes and source.label not in (None, *classes):
            problem = f"no value of construct.labels ({', '.join(classes)})"
            yield [*place, "label"], problem
        if source.lines and isinstance(getattr(source, "member", ""), list):
            yield [*place, "lines"], "is for a single member"
