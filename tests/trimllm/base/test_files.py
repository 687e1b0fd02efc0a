"""A file system that refuses to rename, as one on a network may: what stood there stays."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from mounts import Mounts, mounts

from trimllm.base import files

WRITE = "import sys; from trimllm.base import files; files.write_json(sys.argv[1], {'is': 'new'})"
PUBLISH = "import sys; from trimllm.base import files; files.publish(*sys.argv[1:])"


def refused(room: Mounts, code: str, *paths: Path) -> str:
    """Last line of a program that has met an error."""
    words = [*room.prefix, sys.executable, "-c", code, *map(str, paths)]
    path = {"PYTHONPATH": str(Path(files.__file__).parents[2])}
    run = subprocess.run(words, capture_output=True, text=True, env={**os.environ, **path})
    assert run.returncode == 1, run.stderr
    return run.stderr.splitlines()[-1]


def checkpoint(folder: Path, name: str) -> Path:
    path = folder / name
    path.mkdir()
    files.write_json(path / "config.json", {"is": name})
    files.write_manifest(path)
    return path


def test_a_file_that_cannot_be_renamed_onto_keeps_its_content(tmp_path: Path) -> None:
    path, other = tmp_path / "a.json", tmp_path / "other"
    other.touch()
    files.write_json(path, {"is": "old"})
    with mounts() as room:
        room.mount("--bind", path, path)
        assert "Device or resource busy" in refused(room, WRITE, path)
    assert files.read_json(path) == {"is": "old"}
    assert sorted(tmp_path.iterdir()) == [path, other]


@pytest.mark.parametrize("stuck", ["new", "old"])
def test_a_checkpoint_that_cannot_be_replaced_stays(tmp_path: Path, stuck: str) -> None:
    """Whether the old one cannot be moved away or, that done, the new one not moved there."""
    old, new = checkpoint(tmp_path, "old"), checkpoint(tmp_path, "new")
    with mounts() as room:
        room.mount("--bind", tmp_path / stuck, tmp_path / stuck)
        assert "Device or resource busy" in refused(room, PUBLISH, new, old)
    for path in (old, new):
        files.verify_manifest(path)
        assert files.read_json(path / "config.json") == {"is": path.name}
    assert sorted(tmp_path.iterdir()) == [new, old]


def test_it_is_replaced_where_nothing_refuses(tmp_path: Path) -> None:
    old, new = checkpoint(tmp_path, "old"), checkpoint(tmp_path, "new")
    files.publish(new, old)
    assert files.read_json(old / "config.json") == {"is": "new"}
    assert list(tmp_path.iterdir()) == [old]
