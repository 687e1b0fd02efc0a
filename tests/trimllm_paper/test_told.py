"""What jobs tell past a run's logger, counted across processes."""

from __future__ import annotations

import subprocess
import sys

import pytest

from trimllm_paper import told

TELL = "from trimllm_paper import told; print(told.room_for('waiting\\n'), end='')"


@pytest.fixture(autouse=True)
def uncounted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(told.FILE, raising=False)


def test_processes_share_the_room_of_their_run() -> None:
    file = told.begin()
    assert file is not None and told.begin() is None  # a job's own logger counts nothing anew
    try:
        own = [told.room_for("a line\n") for _ in range(told.MOST - 1)]
        runs = [subprocess.run([sys.executable, "-c", TELL], capture_output=True) for _ in range(3)]
        assert [*own, *(run.stdout.decode() for run in runs)] == [
            *["a line\n"] * (told.MOST - 1),
            *("waiting\n", "More of what jobs say is in their logs, see logs/\n", ""),
        ]
    finally:
        told.end(file)
    assert not file.exists()
