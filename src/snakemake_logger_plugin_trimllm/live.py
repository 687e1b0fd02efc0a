"""What lives at the foot of a terminal: a line for each job that runs, one for the whole."""

from __future__ import annotations

import re
import shutil
import threading
import time
from pathlib import Path
from typing import TextIO

from trimllm_paper.told import ERASE

EVERY = 0.5
"""Seconds between two looks at the logs of jobs."""
PROGRESS = re.compile(r"([^\n|]+): +\d+%\|.*?\| (\d+/\d+) \[[\d:]+<([\d:?]+)")
"""A bar of tqdm in a log: label, items done and in all, time left."""


class Live:
    """The lines, drawn anew by a thread of their own for as long as a job runs.

    Args:
        stream: a terminal.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream, self.whole = stream, ""
        self.jobs: dict[int, tuple[str, list[Path], float]] = {}
        self.lock, self.ended = threading.Lock(), threading.Event()
        self.thread = threading.Thread(target=self._draw_on, daemon=True)

    def say(self, text: str) -> None:
        """Write what stays, above the lines that live."""
        with self.lock:
            self.stream.write(f"{ERASE}{text}\n")
            self._draw()

    def starts(self, job: int, message: str, logs: list[Path]) -> None:
        """A job runs from now on and writes to these logs."""
        with self.lock:
            self.jobs[job] = (message, logs, time.time())
        if not self.thread.ident:
            self.thread.start()

    def ends(self, job: int) -> None:
        """A job has no line any more."""
        with self.lock:
            self.jobs.pop(job, None)
            self._draw()

    def close(self) -> None:
        """Leave the terminal as it was."""
        self.ended.set()
        with self.lock:
            self.jobs.clear()
            self._draw()

    def _draw_on(self) -> None:
        while not self.ended.wait(EVERY):
            with self.lock:
                if self.jobs:
                    self._draw()

    def _draw(self) -> None:
        columns, rows = shutil.get_terminal_size()
        shown = [*self.jobs.values()][: max(1, rows // 2 - 2)]
        lines = [line(*job, columns - 3) for job in shown]
        if more := len(self.jobs) - len(lines):
            lines.append(f"and {more} jobs more")
        if lines and self.whole:
            lines.append(self.whole)
        drawn = "\n".join(f"  {one}"[: columns - 1] for one in lines)
        up = f"\x1b[{len(lines) - 1}A" if len(lines) > 1 else ""
        self.stream.write(f"{ERASE}{drawn}{up}\r")
        self.stream.flush()


def line(message: str, logs: list[Path], since: float, width: int) -> str:
    """What a job does and how far it is, by its log; how long it runs, where that says nothing. How
    far it is comes first where there is no room for both."""
    minutes, seconds = divmod(int(time.time() - since), 60)
    bars = [bar for log in logs for bar in PROGRESS.findall(last_words(log, since))]
    state = "{}: {}, {} left".format(*bars[-1]) if bars else f"for {minutes}:{seconds:02}"
    room = max(width - len(state) - 2, 16)
    short = message if len(message) <= room else f"{message[: room - 3]}..."
    return f"{short}: {state}"


def last_words(log: Path, since: float = 0) -> str:
    """The end of a log, of a line that was written over its last state; nothing if it is older."""
    try:
        if log.stat().st_mtime < int(since):
            return ""
        with log.open("rb") as stream:
            stream.seek(0, 2)
            stream.seek(max(0, stream.tell() - 16384))
            text = stream.read().decode(errors="replace")
    except OSError:
        return ""
    return "\n".join(one.rsplit("\r", 1)[-1] for one in text.rstrip().split("\n"))
