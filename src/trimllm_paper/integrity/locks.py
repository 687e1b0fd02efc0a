"""Who is writing what: a lock that its holder's death opens, on one machine or across a cluster.

The kernel (and the lock service of a network file system) frees such a lock when the process that
holds it ends, however it ends. A file left behind means nothing by itself.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout, lock_descriptor

FOLDER = ".at_work"
"""Where a results folder keeps the locks of what is being written into it."""
# What file systems without locks answer.
NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@contextmanager
def exclusive(
    path: str | Path, tell: Callable[[str], object] = _say, **note: Any
) -> Iterator[bool]:
    """Hold the lock `path`; waits as long as another process has it.

    Args:
        path: the lock's file; made, and removed at the end.
        tell: called with whom is waited for, and what cannot be locked.
        note: what others are told of the holder, beside host, process, cluster job and time.

    Yields:
        Whether somebody else held it meanwhile.
    """
    path = Path(path)
    # A soft lock, a mere file, would outlive its holder.
    lock = FileLock(path, fallback_to_soft=False)
    if waited := not _acquired(lock, path, False, tell):
        tell(f"waiting for {_holder(path)}")
        _acquired(lock, path, True, tell)
    note |= {"host": socket.gethostname(), "pid": os.getpid(), "job": os.getenv("SLURM_JOB_ID")}
    note["started"] = datetime.now(UTC).isoformat(timespec="seconds")
    try:
        path.write_text(json.dumps(note, sort_keys=True), encoding="utf-8")
        yield waited
    finally:
        path.unlink(missing_ok=True)
        with suppress(OSError):
            path.parent.rmdir()
        lock.release()


def _acquired(lock: FileLock, path: Path, wait: bool, tell: Callable[[str], object]) -> bool:
    """Take a lock; False if another process has it and `wait` is False."""
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(blocking=wait)
        except Timeout:
            return False
        except FileNotFoundError:  # the last holder took the empty folder away
            continue
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            tell(f"warning: {path}: this file system has no locks")
        return True


def _holder(path: Path) -> str:
    """Who holds a lock, in words."""
    try:
        note = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return path.name
    job = f", cluster job {note['job']}" if note["job"] else ""
    return f"{note.get('what', 'somebody')} (process {note['pid']} on {note['host']}{job})"


def holders(folder: str | Path) -> list[str]:
    """Who holds a lock of a folder now, in words; where nothing can be locked, nobody."""
    found = []
    for path in sorted(Path(folder).glob("*")):
        with suppress(OSError), path.open("r+", encoding="utf-8") as stream:
            if not lock_descriptor(stream.fileno(), blocking=False):
                found.append(_holder(path))
    return found
