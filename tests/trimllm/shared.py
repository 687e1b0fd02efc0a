"""Folders that are made once and read by all processes of a test run; fresh processes."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

import trimllm

TESTS = Path(__file__).parent
SOURCE = Path(trimllm.__file__).parents[1]


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder that `make` has filled. Whoever needs it first makes it, the others wait; copy it
    before you write into it."""
    root = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    folder, made = root / name, root / f"{name}.made"
    with FileLock(root / f"{name}.lock"):
        if not made.exists():
            folder.mkdir()  # fails where an attempt of another process has failed
            make(folder)
            made.touch()
    return folder


def run_python(code: str, *words: object, **environment: str) -> str:
    """What code prints in a fresh process, which has to succeed; it can import these modules."""
    variables = {"PYTHONPATH": f"{SOURCE}{os.pathsep}{TESTS}", **environment}
    command = [sys.executable, "-P", "-c", code, *map(str, words)]
    run = subprocess.run(command, capture_output=True, text=True, env=os.environ | variables)
    assert run.returncode == 0, run.stderr
    return run.stdout
