"""One run of every kind of job, which many tests read."""

import shutil
from pathlib import Path

import pytest
from runs import CUT, made
from shared import made_once
from shrunk import write_project


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which target `all` has run without a network (`shrunk.write_project`). Read it
    only; dry runs in it need `--nolock`."""

    def make(folder: Path) -> None:
        write_project(folder)
        made(folder, "all", prefix=CUT, configfile=folder / "config.yaml")

    return made_once(tmp_path_factory, "finished", make)


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    """A copy of it to write into, with Snakemake's notes and the times of all files."""
    return shutil.copytree(finished, tmp_path / "copy")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The folder of such a run before it."""
    write_project(tmp_path)
    return tmp_path
