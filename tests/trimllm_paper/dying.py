"""Processes that die or hang, by names that other processes can import."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import Any

from trimllm.base.files import write_text


def die(case: Any, folder: Path, step: str) -> None:
    """Stand in for `check_gpu._run`: one check dies, the others are done."""
    if case.name == "scan":
        (folder / "scan.log").write_text("no room left\n")
        os.kill(os.getpid(), signal.SIGKILL)
    from trimllm_paper.gpu_check import work

    work.run(case, folder, step)


def hang(case: Any, folder: Path, step: str) -> None:
    """Never end, with a child in the same group; note both."""
    os.setsid()
    child = subprocess.Popen(["sleep", "infinity"])
    write_text(folder / "pids", f"{os.getpid()} {child.pid}")
    while True:
        signal.pause()
