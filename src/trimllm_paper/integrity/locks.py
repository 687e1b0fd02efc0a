"""Locks on outputs, freed by the kernel when their holder ends, on one machine or a cluster."""

from __future__ import annotations

import errno
import json
import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout, lock_descriptor

FOLDER = ".at_work"
"""Where a results folder keeps the locks of what is being written into it."""
NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
"""What file systems without locks answer."""


def _warn(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@contextmanager
def exclusive(
    path: str | Path, tell: Callable[[str], object] = _warn, **note: Any
) -> Iterator[bool]:
    """Hold the lock `path`, after whoever has it.

    Args:
        path: the lock's file; made, and removed at the end.
        tell: called with whom is waited for, and with what cannot be locked.
        note: about the holder, for others, beside host, process and cluster job.

    Yields:
        Whether another process held it before.
    """
    path = Path(path)
    lock = FileLock(path, fallback_to_soft=False)  # a mere file would outlive its holder
    if waited := not _acquire(lock, path, False, tell):
        tell(f"waiting for {_holder(path)}")
        _acquire(lock, path, True, tell)
    note |= {"host": socket.gethostname(), "pid": os.getpid(), "job": os.getenv("SLURM_JOB_ID")}
    try:
        path.write_text(json.dumps(note, sort_keys=True), encoding="utf-8")
        yield waited
    finally:
        path.unlink(missing_ok=True)
        with suppress(OSError):
            path.parent.rmdir()
        lock.release()


def _acquire(lock: FileLock, path: Path, wait: bool, tell: Callable[[str], object]) -> bool:
    """Take a lock; False if another process has it and `wait` is False."""
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(blocking=wait)
        except Timeout:
            return False
        except FileNotFoundError:  # the last holder has just removed the empty folder
            continue
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            tell(f"warning: {path}: this file system has no locks")
        return True


def _holder(path: Path) -> str:
    """Who holds a lock."""
    try:
        note = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return path.name
    job = f", cluster job {note['job']}" if note["job"] else ""
    return f"{note.get('what', 'a job')} (process {note['pid']} on {note['host']}{job})"


def holders(folder: str | Path) -> list[str]:
    """Who holds a lock of a folder now; nobody where nothing can be locked."""
    result = []
    for path in sorted(Path(folder).glob("*")):
        with suppress(OSError), path.open("r+", encoding="utf-8") as stream:
            if not lock_descriptor(stream.fileno(), blocking=False):
                result.append(_holder(path))
    return result
