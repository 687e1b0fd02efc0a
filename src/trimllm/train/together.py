"""Start the processes that train one model together, and end them together."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from trimllm.base import files
from trimllm.base.errors import UserError
from trimllm.base.machine import PACKAGE
from trimllm.train.worker import ERROR

# Seconds between two looks at the processes, and that one has to end after it was asked to.
LOOK, GRACE = 0.1, 10.0


def run_processes(folder: Path, processes: int, threads: int) -> None:
    """Run `trimllm.train.worker` on a folder in several processes; returns when all are done.

    What they print goes to standard error. If one fails the others are ended.

    Args:
        folder: holds the description of the job.
        processes: how many, all on this machine.
        threads: threads of each.

    Raises:
        UserError: what a process said.
        RuntimeError: a process failed in another way; its traceback was printed.
    """
    path = os.pathsep.join(filter(None, [str(PACKAGE.parent), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": str(threads)}
    read_end, write_end = os.pipe()
    echo = threading.Thread(target=_echo, args=(read_end,), daemon=True)
    echo.start()
    running = []
    try:
        for rank in range(processes):
            command = [sys.executable, "-m", "trimllm.train.worker", str(folder), str(rank)]
            pipes = {"stdin": subprocess.PIPE, "stdout": write_end, "stderr": write_end}
            running.append(subprocess.Popen(command, env=environment, **pipes))
    finally:
        os.close(write_end)
        failed = _watch(running) if len(running) == processes else 0
        _end(running)
        echo.join(GRACE)
    if failed is None:
        return
    if (folder / ERROR).is_file():
        raise UserError(files.read_json(folder / ERROR))
    code = running[failed].returncode
    how = f"was killed by signal {-code}" if code < 0 else f"ended with status {code}"
    hint = "; was there enough memory?" if code == -9 else ""
    raise RuntimeError(f"training process {failed} of {processes} {how}{hint}")


def _echo(read_end: int) -> None:
    with os.fdopen(read_end, encoding="utf-8", errors="replace") as stream:
        for line in stream:
            sys.stderr.write(line)


def _watch(running: Sequence[subprocess.Popen[bytes]]) -> int | None:
    """Wait until all processes have ended well (None) or one has not (its number)."""
    while True:
        codes = [process.poll() for process in running]
        for rank, code in enumerate(codes):
            if code:
                return rank
        if all(code == 0 for code in codes):
            return None
        time.sleep(LOOK)


def _end(running: Sequence[subprocess.Popen[bytes]]) -> None:
    """End what still runs, first by closing its standard input."""
    for process in running:
        process.stdin.close()
    for process in running:
        try:
            process.wait(GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
