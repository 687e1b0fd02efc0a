"""Lines that jobs of a run write past its logger, counted across their processes: a log file holds
no more than so many of them."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TextIO

FILE = "TRIMLLM_TOLD"
"""Environment variable: a file with a byte for each line that was told."""
MOST = 10
"""Lines that a run's jobs tell where there is no terminal; the logs of jobs have all."""
ERASE = "\r\x1b[J"
"""Clears a terminal from the cursor's line on. The lines of running jobs begin where the cursor
stands, so whoever else writes there need not know how many there are."""


def over_live_lines(stream: TextIO) -> str:
    """What to write before text that stays, where the lines of running jobs may be."""
    return ERASE if stream.isatty() else ""


def begin() -> Path | None:
    """Count from now on what the jobs of this process tell; the file of it, for `end`. None in a
    job, whose run counts."""
    if FILE in os.environ:
        return None
    number, name = tempfile.mkstemp(prefix="trimllm-told-")
    os.close(number)
    os.environ[FILE] = name
    return Path(name)


def end(file: Path) -> None:
    """Count no more."""
    os.environ.pop(FILE, None)
    file.unlink(missing_ok=True)


def room_for(text: str) -> str:
    """A text that ends in a new line; words that there is more, once there is no room for it; then
    nothing. Where nobody counts, as on another machine, all of it."""
    try:
        file = os.open(os.environ[FILE], os.O_WRONLY | os.O_APPEND)
    except (KeyError, OSError):
        return text
    with os.fdopen(file, "ab", buffering=0) as stream:
        lines = stream.write(b"." * text.count("\n"))
        before = stream.tell() - lines
    if before + lines <= MOST:
        return text
    return "More of what jobs say is in their logs, see logs/\n" if before <= MOST else ""
