"""Fixtures of the tables' tests."""

from pathlib import Path

import pytest
from paper_results import PaperResults
from result_files import Evaluations, TimingFiles


@pytest.fixture
def evaluations(tmp_path: Path) -> Evaluations:
    return Evaluations(tmp_path)


@pytest.fixture
def results(tmp_path: Path) -> PaperResults:
    return PaperResults(tmp_path, documents=400)


@pytest.fixture
def timings(tmp_path: Path) -> TimingFiles:
    return TimingFiles(tmp_path)
