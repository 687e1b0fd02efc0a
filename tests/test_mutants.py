"""The tests notice the most telling mutants of the method, the verdicts and the claims."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TOOL = ROOT / "tests/mutants.py"


def test_every_listed_mutant_changes_one_place_and_has_its_tests() -> None:
    spec = importlib.util.spec_from_file_location("mutants", TOOL)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    for mutant in tool.listed():
        file, name = mutant.tests
        first = name.split()[0]  # further words of `-k` name parameters
        assert first in (ROOT / file).read_text("utf-8"), mutant.change


@pytest.mark.slow
@pytest.mark.long
def test_every_listed_mutant_is_killed() -> None:
    """In a process of its own: each mutant forks from one that knows no module of ours yet."""
    path = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    run = subprocess.run([sys.executable, TOOL], capture_output=True, text=True, env=path, cwd=ROOT)
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-2000:]
