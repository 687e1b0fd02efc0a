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
    signals: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        signals.append(number)
        if len(signals) == 1:
            print(
                "Stopping: no further job starts, those listed above run to their end; again "
                "(Ctrl-C or SIGTERM) ends them",
                file=sys.stderr,
                flush=True,
            )
            graceful(number, frame)
        elif local:
            for process in psutil.Process().children(recursive=True):
                process.terminate()
        else:
            raise KeyboardInterrupt

    for one in (signal.SIGTERM, signal.SIGINT):
        signal.signal(one, handle)
