"""A domain's file: sets of documents, which of them trains and calibrates, and the tests.

What every section and key means stands in `keys.yaml`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, PrivateAttr
from pydantic_core import PydanticCustomError

from trimllm.data.construct import CHOICE, PROMPT
from trimllm_paper.config.parts import Commit, Count, Section, Sha256, name, one_of

Format = Literal["fields", "chat"]
Names = str | Annotated[list[str], Field(min_length=1)]
Choices = (
    str | Annotated[list[str], Field(min_length=2)] | Annotated[dict[str, str], Field(min_length=2)]
)
TaskName = name("[A-Za-z0-9_.-]+", "letters, digits, dots, dashes and underscores (a file's name)")
Problem = tuple[list[Any], Any, str]
"""Path of a key, its value, what is wrong."""


def _template(*allowed: str) -> Any:
    """The type of a text with these in braces."""

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

    return Annotated[str, AfterValidator(check)]


class Fields(Section):
    question: Names
    context: str | None = None
    choices: Choices | None = None
    answer: str | int | None = None
    label: str | None = None


class _Rows(Section):
    lines: list[Annotated[int, Field(ge=0)]] | None = None
    label: str | None = None
    format: Format | None = None
    named: Fields | None = Field(None, alias="fields")


class WheelRows(_Rows):
    wheel: str
    member: Names
    version: str | None = None
    sha256: Sha256 | None = None


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


Source = one_of(wheel=WheelRows, file=FileRows, hub=HubRows, task=TaskRows)


class Cleaning(Section):
    tidy: bool = False
    min_characters: Count = 1
    max_characters: Count | None = None
    first_characters: int | None = Field(None, ge=10)
    without: list[str] = []


class Construct(Section):
    kind: Literal["own", "label", "answer", "continuation", "question", "text"] = "own"
    labels: dict[str, str] | None = Field(None, min_length=2)
    noun: str = "subject"
    choices: int | None = Field(None, ge=2)
    texts: Cleaning = Cleaning()


class DocumentSet(Section):
    sources: list[Source] = Field(alias="from", min_length=1)
    format: Format = "fields"
    named: Fields | None = Field(None, alias="fields")
    construction: Construct = Field(Construct(), alias="construct")
    question: Cleaning = Cleaning()
    prompt: _template("question", "context", "answer") = PROMPT
    choice: _template("choice") = CHOICE
    max_characters: Count | None = None
    balance: bool = False
    per_class: Count | None = None


class _Test(Section):
    documents: Count | None = None


class SetTest(_Test):
    set: str


class TaskTest(_Task, _Test):
    """Documents of an lm-eval task."""


class Expected(Section):
    train: Count | None = None
    test: Count | None = None
    tokens: Count | None = None


class Domain(Section):
    """What a model is specialized on. One file a domain, in `domains_folder`."""

    label: str = Field(pattern=r"\S")
    stand_in: str | None = None
    licence: str
    train: str | None = None
    calibration: str | None = None
    expected: Expected = Expected()
    sets: dict[str, DocumentSet] = Field(min_length=1)
    tests: dict[TaskName, one_of(set=SetTest, task=TaskTest)] = Field(min_length=1)

    _name: str = PrivateAttr("")
    _raw: dict[str, Any] = PrivateAttr(default_factory=dict)

    @property
    def name(self) -> str:
        """Name of the file, which stands in paths."""
        return self._name

    @property
    def raw(self) -> dict[str, Any]:
        """The file's content, as `trimllm.data.prepare` takes it."""
        return self._raw

    def _sources(self, key: str) -> dict[str, None]:
        """What the sources have under a key, each once."""
        every = (source for one in self.sets.values() for source in one.sources)
        return dict.fromkeys(getattr(source, key) for source in every if hasattr(source, key))

    @property
    def wheels(self) -> list[str]:
        """Wheels that the domain is read from, each once."""
        return [*self._sources("wheel")]

    @property
    def files(self) -> list[str]:
        """Local files that the domain is read from, each once, environment variables filled in."""
        return [os.path.expanduser(os.path.expandvars(file)) for file in self._sources("file")]

    def problems(self) -> Iterator[Problem]:
        """What a domain's types cannot say: names that are there, fields and classes that fit."""
        named: list[Any] = [([key], getattr(self, key)) for key in ("train", "calibration")]
        named += [(["tests", key, "set"], getattr(t, "set", None)) for key, t in self.tests.items()]
        for path, told in named:
            if told not in (None, "", *self.sets):
                known = ", ".join(sorted(self.sets))
                yield path, told, f"no set of this domain (there are: {known})"
        for key, one in self.sets.items():
            path, classes = ["sets", key], sorted((one.construction.labels or {}).values())
            labelled = one.construction.kind == "label"
            if labelled and not classes:
                yield [*path, "construct", "labels"], {}, "the construction needs two or more"
            offered = one.construction.choices or 0
            if labelled and offered > len(classes):
                problem = f"more than there are labels ({len(classes)})"
                yield [*path, "construct", "choices"], offered, problem
            for number, source in enumerate(one.sources):
                chat = (source.format or one.format) == "chat"
                if not (chat or isinstance(source, TaskRows) or source.named or one.named):
                    yield [*path, "fields"], None, "missing (or format: chat)"
                if labelled and source.label not in (None, *classes):
                    problem = f"no value of construct.labels ({', '.join(classes)})"
                    yield [*path, "from", number, "label"], source.label, problem
