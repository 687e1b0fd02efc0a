"""A domain's file: sets of documents, which of them trains and calibrates, and the tests."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, PrivateAttr

from trimllm.data.construct import kind_of
from trimllm_paper.config.parts import Commit, Count, Section, by_key, key, listed

Names = str | Annotated[list[str], Field(min_length=1)]
Choices = (
    str | Annotated[list[str], Field(min_length=2)] | Annotated[dict[str, str], Field(min_length=2)]
)
Format = Literal["fields", "messages"]
AnswerForm = Literal["index", "letter", "text"]
Kind = Literal["own", "label", "free", "answer", "continuation"]
Split = Literal["train", "validation", "test"]
Line = Annotated[int, Field(ge=0)]
Labels = Annotated[dict[str, str], Field(min_length=2)]
TaskName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]+$")]
Problem = tuple[list[Any], str]  # path of a key, and what is wrong with its value


def _template(text: str) -> str:
    """Accept a text that has no other names in braces."""
    try:
        text.format(question="", context="", answer="")
    except KeyError as error:
        known = "{question}, {context} and {answer}"
        raise ValueError(f"there is no {{{error.args[0]}}} (there are: {known})") from None
    return text


class Fields(Section):
    question: Names = key("Field, or fields that are joined by a space.")
    context: str | None = key("Field with a text to read before the question.", None)
    choices: Choices | None = key("Field, fields, or `{choice: value of the answer}`.", None)
    answer: str | int | None = key("Field with the right index, letter or text; or an index.", None)
    answer_is: AnswerForm | None = key("How the answer is read; null: whichever fits.", None)
    label: str | None = key("Field with the class, for `kind: label`.", None)


class Rows(Section):
    lines: list[Line] | None = key("Numbers of the lines to keep, from 0; null: all.", None)
    label: str | None = key("Class of every row, for `kind: label`.", None)
    format: Format | None = key("Where it differs from that of the set.", None)
    named: Fields | None = key("Where they differ from those of the set.", None, alias="fields")


class WheelRows(Rows):
    wheel: str = key("An entry of `wheels` in the configuration.")
    member: Names = key("File or files in the wheel.")


class FileRows(Rows):
    file: str = key("Local .jsonl, .json, .csv, .tsv or .parquet; may have ${VARIABLE}.")


class HubRows(Rows):
    hub: str = key("Data set of the hub.")
    revision: Commit = key("Commit of the data set, 40 digits.")
    name: str | None = key("Configuration of the data set.", None)
    split: str = key("Split of the data set.")


class Task(Section):
    task: str = key("An lm-eval task, with its own prompts.")
    split: Split = key("`test` falls back to `validation`.", "test")
    include_path: str | None = key("Folder with your own lm-eval tasks.", None)


class TaskRows(Task, Rows):
    """Documents of an lm-eval task."""


Source = Annotated[
    WheelRows | FileRows | HubRows | TaskRows, by_key("wheel", "file", "hub", "task")
]


class Cleaning(Section):
    tidy: bool = key("Normalize spaces, first letter and final punctuation.", False)
    min_characters: Count = key("Shorter texts are left out.", 1)
    max_characters: Count | None = key("Longer texts are left out.", None)
    first_characters: int | None = key("Texts are cut to this length.", None, ge=10)
    without: list[str] = key("Texts with one of these words are left out.", [])


class Construct(Section):
    kind: Kind | None = key(
        "own: the row's choices; label: its class; answer, continuation: other rows'.", None
    )
    labels: Labels | None = key("For `label`: choice and class; null: all classes.", None)
    choices: int | None = key("Number of choices; null: 4, or all labels.", None, ge=2)
    texts: Cleaning = key("Limits and clean-up of answers.", Cleaning())


class DocumentSet(Section):
    sources: list[Source] = key("Has wheel, file, hub or task.", alias="from", min_length=1)
    format: Format = key("messages: conversations; the last message is the answer.", "fields")
    named: Fields | None = key("Which field of a row means what.", None, alias="fields")
    construction: Construct = key("How a row becomes a document.", Construct(), alias="construct")
    question: Cleaning = key("Limits and clean-up of the question.", Cleaning())
    prompt: Annotated[str, AfterValidator(_template)] | None = key(
        "With {question} and {context}; null: the usual one.", None
    )
    chat_template: bool | None = key("Use the model's; null: for `messages` only.", None)
    max_characters: Count | None = key("Longer documents are left out.", None)


class SetTest(Section):
    set: str = key("A set of this file.")
    documents: Count | None = key("Null: evaluate.documents.", None)


class TaskTest(Task):
    documents: Count | None = key("Null: evaluate.documents.", None)


Test = Annotated[SetTest | TaskTest, by_key("set", "task")]


class Expected(Section):
    train: Count | None = key("Training documents.", None)
    test: Count | None = key("Documents of all tests.", None)
    tokens: Count | None = key("Mean tokens of a document with all choices.", None)
    trained: Count | None = key("Mean tokens of prompt and right answer.", None)


class Domain(Section):
    """What a model is specialized on. One file a domain, in `domains_folder`."""

    label: str = key("Name in tables.", pattern=r"\S")
    stand_in: str | None = key("What is measured, if it is not the paper's data.", None)
    licence: str = key("Licenses of the data sets.")
    train: str | None = key("Set to train on; null: tested only, under `tables.near`.", None)
    calibration: str | None = key("Set to calibrate on; null: a part of `train`.", None)
    expected: Expected = key("Sizes for plans before any data is read.", Expected())
    sets: dict[str, DocumentSet] = key("Sets of documents.", min_length=1)
    tests: dict[TaskName, Test] = key("Tests: a set or an lm-eval task each.", min_length=1)

    _path: Path = PrivateAttr(Path())
    _raw: dict[str, Any] = PrivateAttr(default_factory=dict)

    @property
    def name(self) -> str:
        """Name of the file, which stands in paths."""
        return self._path.stem

    @property
    def path(self) -> Path:
        """The file, which may be that of a kept run."""
        return self._path

    @property
    def raw(self) -> dict[str, Any]:
        """The file's content, as `trimllm.data.prepare` takes it."""
        return self._raw

    def free(self, name: str | None) -> bool:
        """Whether there is a set of this name, and its documents have free answers."""
        return name in self.sets and kind_of(self.raw["sets"][name]) == "free"

    @property
    def calibrated_freely(self) -> bool:
        """Whether scans see free answers: none of them is right or wrong, only likely."""
        return self.free(self.calibration or self.train)

    @property
    def tested_freely(self) -> bool:
        """Whether a test has free answers, which evaluations generate."""
        return any(self.free(getattr(test, "set", None)) for test in self.tests.values())

    @property
    def _sources(self) -> list[Source]:
        return [source for one in self.sets.values() for source in one.sources]

    @property
    def wheels(self) -> list[str]:
        """Wheels that the domain is read from."""
        return [*dict.fromkeys(one.wheel for one in self._sources if isinstance(one, WheelRows))]

    @property
    def files(self) -> list[str]:
        """Local files that the domain is read from, environment variables filled in."""
        files = dict.fromkeys(one.file for one in self._sources if isinstance(one, FileRows))
        return [os.path.expanduser(os.path.expandvars(file)) for file in files]

    @property
    def task_folders(self) -> list[str]:
        """Folders with the user's own lm-eval tasks that the domain is read from."""
        tasks = (one for one in [*self._sources, *self.tests.values()] if isinstance(one, Task))
        return sorted({one.include_path for one in tasks if one.include_path})

    def problems(self) -> Iterator[Problem]:
        """Sets that do not exist; fields that do not fit the construction."""
        used = [(["train"], self.train), (["calibration"], self.calibration)]
        used += [(["tests", t, "set"], getattr(one, "set", None)) for t, one in self.tests.items()]
        for path, name in used:
            if name not in (None, *self.sets):
                yield path, f"no set of this domain ({listed(self.sets)})"
        for name, one in self.sets.items():
            for source in one.sources:
                fields = source.named or one.named
                if isinstance(source, TaskRows) or (source.format or one.format) == "messages":
                    continue
                if fields is None:
                    yield ["sets", name, "fields"], "missing (or format: messages)"
                elif self.free(name) and fields.answer is None:
                    problem = "missing: construct.kind is free"
                    yield ["sets", name, "fields", "answer"], problem
