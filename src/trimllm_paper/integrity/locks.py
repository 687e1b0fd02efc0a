"""Who is writing what: a lock that its holder's death opens, on one machine or across a cluster.

POSIX record locks: the kernel (and the lock service of a network file system) frees them when the
process that holds them ends, however it ends. A file left behind means nothing by itself.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

FOLDER = ".at_work"
"""Where a results folder keeps the locks of what is being written into it."""
# What file systems without locks answer.
NO_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}


def _lock(stream: IO[str], wait: bool) -> bool:
    """Lock an open file; False if another process has it and `wait` is False."""
    try:
        fcntl.lockf(stream, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            return False
        if error.errno not in NO_LOCKS:
            raise
        print(f"warning: {stream.name}: this file system has no locks", file=sys.stderr)
    return True


def _is_at(stream: IO[str], path: Path) -> bool:
    """Whether the open file still stands under its name: holders remove theirs when they end."""
    try:
        return os.path.samestat(os.fstat(stream.fileno()), path.stat())
    except FileNotFoundError:
        return False


@contextmanager
def exclusive(path: str | Path, **note: Any) -> Iterator[bool]:
    """Hold the lock `path`; waits as long as another process has it.

    Args:
        path: the lock's file; made, and removed at the end.
        note: what others are told of the holder, beside host, process, cluster job and time.

    Yields:
        Whether somebody else held it meanwhile.
    """
    path = Path(path)
    waited = False
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = path.open("a+", encoding="utf-8")
        if not _lock(stream, wait=False):
            if not waited:
                print(f"waiting for {_described(_note(path))}", file=sys.stderr, flush=True)
            waited = _lock(stream, wait=True)
        if _is_at(stream, path):
            break
        stream.close()
    with stream:
        stream.truncate(0)
        stream.write(json.dumps(note | _self(), sort_keys=True))
        stream.flush()
        try:
            yield waited
        finally:
            path.unlink(missing_ok=True)
            with suppress(OSError):
                path.parent.rmdir()


def _self() -> dict[str, Any]:
    started = datetime.now(UTC).isoformat(timespec="seconds")
    job = os.environ.get("SLURM_JOB_ID")
    return {"host": socket.gethostname(), "pid": os.getpid(), "job": job, "started": started}


def _note(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {"what": path.name}


def _described(note: dict[str, Any]) -> str:
    job = f", cluster job {note['job']}" if note.get("job") else ""
    where = f" (process {note['pid']} on {note['host']}{job})" if "pid" in note else ""
    return f"{note.get('what', 'somebody')}{where}"


def holders(folder: str | Path) -> list[str]:
    """Who holds a lock of a folder now, in words."""
    found = []
    for path in sorted(Path(folder).glob("*")):
        with suppress(FileNotFoundError), path.open("a+", encoding="utf-8") as stream:
            if not _lock(stream, wait=False):
                found.append(_described(_note(path)))
    return found
