"""File systems that fail for real, seen by the commands of a test alone."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def mounts() -> Iterator[list[str]]:
    """Prefix of commands that run in their own mount namespace, which ends with the block. The test
    is skipped where the system allows no such namespace."""
    mapped = [] if os.geteuid() == 0 else ["--map-root-user"]
    entered = [] if os.geteuid() == 0 else ["--user", "--preserve-credentials"]
    if not shutil.which("nsenter") or not shutil.which("unshare"):
        pytest.skip("no unshare and nsenter (util-linux)")
    words = ["unshare", *mapped, "--mount", "sh", "-c", "echo ready; exec sleep infinity"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as keeper:
        try:
            if not keeper.stdout.readline():
                pytest.skip("this system lets nobody mount in a namespace of one's own (unshare)")
            yield ["nsenter", *entered, "--mount", f"--target={keeper.pid}"]
        finally:
            keeper.kill()
