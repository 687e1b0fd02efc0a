"""Frames: all results in rows, on the kept results and on made-up ones."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest

from trimllm_paper import frame as room

ROOT = Path(__file__).parents[2]


def test_the_example_of_the_docstring(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    failed, tried = doctest.testmod(room)
    assert tried and not failed
