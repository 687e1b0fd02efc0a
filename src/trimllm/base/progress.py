"""Progress of long work: done, rate, and what is left.

A line every few seconds; on a terminal and in a notebook one line that lives, with a bar.
"""

from __future__ import annotations

import re
import shutil
import sys
import time
from typing import TextIO

BAR = 10
"""Characters of the bar."""
PROGRESS = re.compile(r"^.+: \d+/\d+ \w+.*, (?:\d+:\d\d left|done in ).*$", re.MULTILINE)
"""A line of `Progress` in a log."""
ERASE = "\r\x1b[J"
"""Clears a terminal from the cursor's line on. Lines that live begin where the cursor stands, so
that whoever else writes there erases them and needs not know how many they are."""


def is_live(stream: TextIO) -> bool:
    """Whether what is written over shows as such: on a terminal, and in a Jupyter kernel, whose
    streams are no terminals."""
    return stream.isatty() or type(stream).__module__ == "ipykernel.iostream"


def over_live_lines(stream: TextIO) -> str:
    """What to write before words that stay, where lines may live."""
    return ERASE if stream.isatty() else ""


class Progress:
    """Count work and say how far it is.

    Args:
        total: number of items in all.
        unit: what an item is ("documents", "steps").
        label: what is being done.
        log: stream to write to; None means standard error as it is at that moment.
        every: seconds between two lines; the first and the last are always written. A line that
            lives is renewed ten times as often.
    """

    def __init__(
        self, total: int, unit: str, label: str, log: TextIO | None = None, every: float = 5.0
    ) -> None:
        self.total, self.unit, self.label, self.log, self.every = total, unit, label, log, every
        self.items = self.tokens = self.width = 0
        self.start = time.perf_counter()
        self.last = self.start

    def update(self, items: int, tokens: int = 0, note: str = "") -> None:
        """Add finished items (and the tokens in them); `note` is shown at the end of the line."""
        self.items += items
        self.tokens += tokens
        now, stream = time.perf_counter(), self.log or sys.stderr
        every = self.every / 10 if is_live(stream) else self.every
        if now - self.last >= every and self.items < self.total:
            self.last = now
            left = (now - self.start) / max(self.items, 1) * (self.total - self.items)
            self._write(stream, f"{left // 60:.0f}:{left % 60:02.0f} left", note)

    def done(self, note: str = "") -> None:
        """Write the closing line."""
        stream = self.log or sys.stderr
        self._write(stream, f"done in {time.perf_counter() - self.start:.1f} s", note, end="\n")

    def _write(self, stream: TextIO, state: str, note: str, end: str = "") -> None:
        seconds = max(time.perf_counter() - self.start, 1e-9)
        rate = f", {self.tokens / seconds:,.0f} tokens/s" if self.tokens else ""
        line = f"{self.items}/{self.total} {self.unit}{rate}, {state}" + (
            f", {note}" if note else ""
        )
        if not is_live(stream):
            print(f"{self.label}: {line}", file=stream, flush=True)
            return
        full = BAR * min(self.items, self.total) // max(self.total, 1)
        line = f"{self.label}: [{'#' * full}{'.' * (BAR - full)}] {line}"
        # A line that wraps is not written over; spaces erase where escape codes are not understood.
        line = line[: shutil.get_terminal_size((120, 24)).columns - 1]
        print(f"\r{line:<{self.width}}", end=end, file=stream, flush=True)
        self.width = len(line)
