"""A lock is held by one process, and freed by its death."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import trimllm
from trimllm_paper.integrity import locks

SOURCE = str(Path(trimllm.__file__).parents[1])
HOLD = """
import sys, time
from trimllm_paper.integrity.locks import exclusive
with exclusive(sys.argv[1], what="epoch 3") as waited:
    print(f"held {waited}", flush=True)
    sys.stdin.readline()
"""
# Two bytes of one writer, one after the other: never another's between them.
WRITE = """
import sys, time
from trimllm_paper.integrity.locks import exclusive
for _ in range(20):
    with exclusive(sys.argv[1], what=sys.argv[2]), open(sys.argv[1] + ".out", "ab", 0) as out:
        out.write(sys.argv[2].encode())
        time.sleep(0.002)
        out.write(sys.argv[2].encode())
"""


def start(program: str, *arguments: object) -> subprocess.Popen[str]:
    words = [sys.executable, "-c", program, *map(str, arguments)]
    pipe = subprocess.PIPE
    environment = {**os.environ, "PYTHONPATH": SOURCE}
    return subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=environment)


def test_a_killed_holder_holds_nothing(tmp_path: Path) -> None:
    path = tmp_path / "locks" / "a"
    holder = start(HOLD, path)
    assert holder.stdout.readline() == "held False\n"
    (found,) = locks.holders(path.parent)
    assert "epoch 3" in found and str(holder.pid) in found
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert path.exists() and locks.holders(path.parent) == []
    with locks.exclusive(path, what="next") as waited:
        assert not waited
    assert not path.parent.exists()


def test_the_next_one_waits_and_is_told(tmp_path: Path) -> None:
    first, second = start(HOLD, tmp_path / "a"), None
    assert first.stdout.readline() == "held False\n"
    second = start(HOLD, tmp_path / "a")
    assert "waiting for epoch 3 (process" in second.stderr.readline()
    first.communicate("\n")
    assert second.stdout.readline() == "held True\n"
    second.communicate("\n")
    assert not (tmp_path / "a").exists()


def test_writers_never_meet(tmp_path: Path) -> None:
    writers = [start(WRITE, tmp_path / "a", name) for name in "xyz"]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    written = (tmp_path / "a.out").read_text()
    assert len(written) == 120
    assert all(written[i] == written[i + 1] for i in range(0, 120, 2))


def test_a_file_system_without_locks_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with locks.exclusive(tmp_path / "locks" / "a", what="epoch 3") as waited:
        assert not waited and locks.holders(tmp_path / "locks") == []
    assert "this file system has no locks" in capsys.readouterr().err
    assert not (tmp_path / "locks").exists()
