"""Progress: lines in a log, one line that lives on a terminal and in a notebook."""

from __future__ import annotations

import io
import os
import pty
import re
from itertools import pairwise

import pytest

from trimllm.base.progress import BAR, Progress

LINE = re.compile(
    r"scan: \d/4 documents, [\d,]+ tokens/s, (\d+:\d\d left, loss 1|done in [\d.]+ s)\n"
)


class OutStream(io.StringIO):
    """A stream that calls itself as that of a Jupyter kernel does, which is no terminal either."""

    __module__ = "ipykernel.iostream"


def four_documents(log: io.StringIO, every: float = 0.0) -> None:
    progress = Progress(4, "documents", "scan", log, every)
    for _ in range(4):
        progress.update(1, 10, "loss 1")
    progress.done()


def test_a_log_gets_lines() -> None:
    four_documents(log := io.StringIO())
    assert len(lines := log.getvalue().splitlines(keepends=True)) == 4
    assert all(LINE.fullmatch(line) for line in lines), lines
    four_documents(rarely := io.StringIO(), every=3600)
    assert rarely.getvalue().count("\n") == 1


def bars(text: str) -> list[int]:
    """How full the bar of each state of a line that lives was; it ends once, at the end."""
    assert text.count("\n") == 1 and text.endswith("\n") and "\x1b" not in text
    states = text[1:-1].split("\r")
    # A shorter state erases the longer one before it.
    assert all(len(new) >= len(old.rstrip()) for old, new in pairwise(states))
    return [re.match(r"scan: \[(#*)\.*\] ", one)[1].count("#") for one in states]


def test_a_kernels_stream_gets_one_line_that_lives() -> None:
    four_documents(log := OutStream())
    assert bars(log.getvalue()) == [BAR * count // 4 for count in (1, 2, 3, 4)]


@pytest.mark.parametrize("columns", [30, 200])
def test_a_terminal_gets_one_line_that_fits(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w", newline="") as terminal:
        four_documents(terminal)
        text = ""
        while not text.endswith("\n"):  # a terminal hands on what it has as it comes
            text += os.read(ours, 10_000).decode()
    os.close(ours)
    text = text.replace("\r\n", "\n")
    assert len(bars(text)) == 4
    widest = max(map(len, re.split(r"[\r\n]", text)))
    assert widest == columns - 1 if columns == 30 else widest > 60
