"""What a prepared domain's report holds (`trimllm.data.prepare`), and who reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import ConfigDict, ValidationError

from trimllm.base.errors import UserError
from trimllm_paper.kept_runs import read_json
from trimllm_paper.records import REMEDY, Part, problem_of


class Split(Part):
    """Documents of a split; what more is told of them is kept."""

    model_config = ConfigDict(extra="allow")
    documents: int


class TestReport(Part):
    """A test; what more is told of it is kept."""

    model_config = ConfigDict(extra="allow")
    bag_of_words: float | None = None  # percent that the words alone answer; None of free answers


class DataReport(Part):
    """A domain's report. The library writes it and seals nothing: results carry the hashes of the
    files that it names, and of kept reports the manifest around them does."""

    model_config = ConfigDict(extra="allow")
    domain: str
    files: dict[str, str]  # sha256 of every file, by its path beside the report
    splits: dict[str, Split]  # train, calibration, held_back, tests/TASK
    tests: dict[str, TestReport] = {}
    licence: str | None = None
    stand_in: str | None = None

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Raises `UserError` for a file that is missing, or is no such report."""
        try:
            return cls.model_validate(read_json(path))
        except ValidationError as error:
            raise UserError(f"{path}: {problem_of(error)}; {REMEDY}") from None

    @property
    def trained(self) -> int | None:
        """Training documents; None of a domain that is tested on only."""
        train = self.splits.get("train")
        return train.documents if train else None
