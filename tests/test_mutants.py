"""The tests notice the most telling mutants of the method, the verdicts and the claims."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
def test_every_listed_mutant_is_killed() -> None:
    """In a process of its own: each mutant forks from one that knows no module of ours yet."""
    words = [sys.executable, str(ROOT / "tests/mutants.py")]
    path = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    run = subprocess.run(words, capture_output=True, text=True, env=path, cwd=ROOT)
    alive = [line for line in run.stdout.splitlines() if "SURVIVES" in line]
    assert run.returncode == 0 and not alive, "\n".join([*alive, run.stderr[-2000:]])
