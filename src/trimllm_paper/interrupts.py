"""SIGTERM and Ctrl-C to a run: the first lets running jobs end, the second ends them."""

from __future__ import annotations

import signal
import sys
from types import FrameType
from typing import Any

import psutil


def wait_once(local: bool) -> None:
    """Handle both signals in this way from now on; call it when Snakemake's scheduler is made.

    Args:
        local: jobs are child processes; else jobs of a cluster, which Snakemake's plugin cancels.
    """
    graceful: Any = signal.getsignal(signal.SIGTERM)  # of Snakemake: starts no further job
    message = (
        "Stopping: no further job starts, those listed above run to their end; again (Ctrl-C or "
        "SIGTERM) ends them"
    )

    def first(number: int, frame: FrameType | None) -> None:
        for one in (signal.SIGTERM, signal.SIGINT):
            signal.signal(one, second)
        print(message, file=sys.stderr, flush=True)
        graceful(number, frame)

    def second(number: int, frame: FrameType | None) -> None:
        if not local:
            raise KeyboardInterrupt
        for process in psutil.Process().children(recursive=True):
            process.terminate()

    for one in (signal.SIGTERM, signal.SIGINT):
        signal.signal(one, first)
