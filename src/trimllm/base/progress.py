"""Progress of long work, one line every few seconds: done, rate, and what is left."""

from __future__ import annotations

import sys
import time
from typing import TextIO


class Progress:
    """Count work and say how far it is.

    Args:
        total: number of items in all.
        unit: what an item is ("documents", "steps").
        label: what is being done.
        log: stream to write to; None means standard error as it is at that moment.
        every: seconds between two lines; the first and the last are always written.
    """

    def __init__(
        self, total: int, unit: str, label: str, log: TextIO | None = None, every: float = 5.0
    ) -> None:
        self.total, self.unit, self.label, self.log, self.every = total, unit, label, log, every
        self.items = self.tokens = 0
        self.start = time.perf_counter()
        self.last = self.start

    def update(self, items: int, tokens: int = 0, note: str = "") -> None:
        """Add finished items (and the tokens in them); `note` is shown at the end of the line."""
        self.items += items
        self.tokens += tokens
        now = time.perf_counter()
        if now - self.last >= self.every and self.items < self.total:
            self.last = now
            left = (now - self.start) / max(self.items, 1) * (self.total - self.items)
            self._write(f"{left // 60:.0f}:{left % 60:02.0f} left", note)

    def done(self, note: str = "") -> None:
        """Write the closing line."""
        self._write(f"done in {time.perf_counter() - self.start:.1f} s", note)

    def _write(self, state: str, note: str) -> None:
        seconds = max(time.perf_counter() - self.start, 1e-9)
        rate = f", {self.tokens / seconds:,.0f} tokens/s" if self.tokens else ""
        line = f"{self.label}: {self.items}/{self.total} {self.unit}{rate}, {state}"
        print(line + (f", {note}" if note else ""), file=self.log or sys.stderr, flush=True)
