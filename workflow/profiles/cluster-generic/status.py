#!/usr/bin/env python3
"""How a job is that `submit.py` has submitted: prints success, failed or running.

    status.py NUMBER

How it ended, the job has noted itself. One that left the queue without a note was killed (memory,
time, its node). A scheduler that does not answer says nothing: the job counts as running.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

LOGS = Path("logs/cluster")
LATE = 10
"""Seconds that a note may take to appear on a network file system."""


def noted(number: str) -> str | None:
    """What a job has noted."""
    try:
        code = (LOGS / f"{number}.exit").read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return None
    return "success" if code == "0" else "failed"


def queued(number: str) -> bool:
    """Whether a job is in the queue, as far as anybody knows."""
    run = subprocess.run(["qstat"], capture_output=True, text=True)
    # PBS cuts the server's name short.
    there = {line.split()[0].split(".")[0] for line in run.stdout.splitlines() if line.strip()}
    return run.returncode != 0 or number.split(".")[0] in there


def main(number: str) -> None:
    found = noted(number)
    if not found and not queued(number):
        time.sleep(LATE)
        found = noted(number) or "failed"
    print(found or "running")


if __name__ == "__main__":
    main(sys.argv[1])
