"""File systems that fail for real, seen by the commands of a test alone."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

# What root may do whatever a folder's mode says, it may no longer.
POWERLESS = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.geteuid() == 0 else []


class Mounts(NamedTuple):
    """A namespace of mounts."""

    prefix: list[str]  # put before a command that shall see them
    root: str  # the root folder as seen from within

    def mount(self, *words: object) -> None:
        subprocess.run([*self.prefix, "mount", *map(str, words)], check=True)

    def within(self, path: Path) -> Path:
        """A path of the namespace, to look at from outside."""
        return Path(f"{self.root}{path}")


@contextmanager
def mounts() -> Iterator[Mounts]:
    """A namespace of mounts, gone with all that was mounted when the block ends; the test is
    skipped where the system does not let one be made."""
    mapped = [] if os.geteuid() == 0 else ["--map-root-user"]
    entered = [] if os.geteuid() == 0 else ["--user", "--preserve-credentials"]
    if not shutil.which("nsenter") or not shutil.which("unshare"):
        pytest.skip("no unshare and nsenter (util-linux)")
    words = ["unshare", *mapped, "--mount", "sh", "-c", "echo ready; exec sleep infinity"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as keeper:
        try:
            if not keeper.stdout.readline():
                pytest.skip("this system lets nobody mount in a namespace of one's own (unshare)")
            prefix = ["nsenter", *entered, "--mount", f"--target={keeper.pid}"]
            yield Mounts(prefix, f"/proc/{keeper.pid}/root")
        finally:
            keeper.kill()
