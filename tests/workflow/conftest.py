"""The smoke run that several tests look at, and what must be refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from runs import listing, snakemake


@pytest.fixture(scope="session")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the whole smoke DAG has run."""
    directory = tmp_path_factory.mktemp("smoke")
    run = snakemake(directory, "table2")
    assert run.returncode == 0, run.stderr[-4000:]
    return directory


@pytest.fixture
def refused(tmp_path: Path) -> Callable[..., str]:
    """Run what must be refused; returns the only line that complains."""

    def run(*arguments: str, **options: object) -> str:
        before = listing(tmp_path)
        done = snakemake(tmp_path, *(arguments or ("table2",)), **options)
        assert done.returncode != 0
        lines = [line for line in done.stderr.splitlines() if "error: " in line]
        assert len(lines) == 1, done.stderr
        assert "Traceback" not in done.stderr
        after = {name for name in listing(tmp_path) if not name.startswith("logs/")}
        assert after == set(before)
        return lines[0]

    return run
