"""A domain's file: sets of documents, which of them trains and calibrates, and the tests.

What every section and key means stands in `keys.yaml`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, PrivateAttr
from pydantic_core import PydanticCustomError

from trimllm.data.construct import CHOICE, kind_of
from trimllm_paper.config.parts import Commit, Count, OneOf, Section, name

Format = Literal["fields", "messages"]
Names = str | Annotated[list[str], Field(min_length=1)]
Choices = (
    str | Annotated[list[str], Field(min_length=2)] | Annotated[dict[str, str], Field(min_length=2)]
)
TaskName = Annotated[
    str, name("[A-Za-z0-9_.-]+", "letters, digits, dots, dashes and underscores (a file's name)")
]
Problem = tuple[list[Any], Any, str]
"""Path of a key, its value, what is wrong."""


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
    context: str | None = None
    choices: Choices | None = None
    answer: str | int | None = None
    answer_is: Literal["index", "letter", "text"] | None = None
    label: str | None = None


class _Rows(Section):
    lines: list[Annotated[int, Field(ge=0)]] | None = None
    label: str | None = None
    format: Format | None = None
    named: Fields | None = Field(default=None, alias="fields")


class WheelRows(_Rows):
    wheel: str
    member: Names


class FileRows(_Rows):
    file: str


class HubRows(_Rows):
    hub: str
    revision: Commit
    name: str | None = None
    split: str


class _Task(Section):
    task: str
    split: Literal["train", "validation", "test"] = "test"
    include_path: str | None = None


class TaskRows(_Task, _Rows):
    """Documents of an lm-eval task."""


Source = Annotated[
    WheelRows | FileRows | HubRows | TaskRows,
    OneOf({"wheel": WheelRows, "file": FileRows, "hub": HubRows, "task": TaskRows}),
]


class Cleaning(Section):
    tidy: bool = False
    min_characters: Count = 1
    max_characters: Count | None = None
    first_characters: int | None = Field(default=None, ge=10)
    without: list[str] = []


class Construct(Section):
    kind: Literal["own", "label", "free", "answer", "continuation"] | None = None
    labels: dict[str, str] | None = Field(default=None, min_length=2)
    noun: str = "subject"
    choices: int | None = Field(default=None, ge=2)
    texts: Cleaning = Cleaning()


class DocumentSet(Section):
    sources: list[Source] = Field(alias="from", min_length=1)
    format: Format = "fields"
    named: Fields | None = Field(default=None, alias="fields")
    construction: Construct = Field(default=Construct(), alias="construct")
    question: Cleaning = Cleaning()
    prompt: Annotated[str, _template("question", "context", "answer")] | None = None
    choice: Annotated[str, _template("choice")] = CHOICE
    chat_template: bool | None = None
    max_characters: Count | None = None
    balance: bool = False
    per_class: Count | None = None


class _Test(Section):
    documents: Count | None = None


class SetTest(_Test):
    set: str


class TaskTest(_Task, _Test):
    """Documents of an lm-eval task."""


Test = Annotated[SetTest | TaskTest, OneOf({"set": SetTest, "task": TaskTest})]


class Expected(Section):
    train: Count | None = None
    test: Count | None = None
    tokens: Count | None = None
    trained: Count | None = None


def read_by(raw: Mapping[str, Any]) -> dict[str, Any]:
    """What a domain's documents are made by: all of its file but for what is expected of them."""
    return {key: value for key, value in raw.items() if key != "expected"}


class Domain(Section):
    """What a model is specialized on. One file a domain, in `domains_folder`."""

    label: str = Field(pattern=r"\S")
    stand_in: str | None = None
    licence: str
    train: str | None = None
    calibration: str | None = None
    expected: Expected = Expected()
    sets: dict[str, DocumentSet] = Field(min_length=1)
    tests: dict[TaskName, Test] = Field(min_length=1)

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
                yield path, known, f"no set of this domain (there are: {names})"
        for key, one in self.sets.items():
            yield from _set_problems(["sets", key], one, kind_of(self.raw["sets"][key]))


def _set_problems(path: list[Any], one: DocumentSet, kind: str) -> Iterator[Problem]:
    """What is wrong with a set, whose construction is of a kind."""
    classes = sorted((one.construction.labels or {}).values())
    if kind == "label" and classes and (one.construction.choices or 0) > len(classes):
        problem = f"more than there are labels ({len(classes)})"
        yield [*path, "construct", "choices"], one.construction.choices, problem
    for number, source in enumerate(one.sources):
        place, fields = [*path, "from", number], source.named or one.named
        if isinstance(source, TaskRows):
            if kind != "own":
                yield [*path, "construct", "kind"], kind, "a task has its own choices: leave it out"
        elif (source.format or one.format) == "messages":
            if kind != "free":
                problem = "goes with construct.kind: free alone, whose answer is the last message"
                yield [*path, "construct", "kind"], kind, problem
        elif fields is None:
            yield [*path, "fields"], None, "missing (or format: messages)"
        elif kind == "free" and fields.answer is None:
            yield [*path, "fields", "answer"], None, "missing: construct.kind is free"
        elif kind == "label" and fields.label is None and source.label is None:
            yield [*place, "label"], None, "missing, and so is fields.label: a row needs a class"
        elif kind == "label" and classes and source.label not in (None, *classes):
            problem = f"no value of construct.labels ({', '.join(classes)})"
            yield [*place, "label"], source.label, problem
        if source.lines and isinstance(getattr(source, "member", ""), list):
            yield [*place, "lines"], source.lines, "is for a single member"
