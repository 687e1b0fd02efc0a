"""Atomic files: modes, manifests of others, and a file system that refuses to rename."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from mounts import Mounts, mounts

from trimllm.base import files
from trimllm.base.errors import UserError

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


def test_an_old_checkpoint_outlives_renames_that_fail_both_ways(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = checkpoint(tmp_path, "old"), checkpoint(tmp_path, "new")
    rename = os.replace

    def onto_nothing(source: Path, target: Path) -> None:
        if target == old:
            raise OSError("refused")
        rename(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", onto_nothing)
        with pytest.raises(OSError, match="refused"):
            files.publish(new, old)
    assert not old.exists()
    files.remove_leftovers(old)
    files.verify_manifest(old)
    assert sorted(tmp_path.iterdir()) == [new, old]


def test_it_is_replaced_where_nothing_refuses(tmp_path: Path) -> None:
    old, new = checkpoint(tmp_path, "old"), checkpoint(tmp_path, "new")
    files.publish(new, old)
    assert files.read_json(old / "config.json") == {"is": "new"}
    assert list(tmp_path.iterdir()) == [old]


@pytest.mark.parametrize("mask, file, folder", [(0o077, 0o600, 0o700), (0o002, 0o664, 0o775)])
def test_files_have_the_mode_that_the_umask_leaves(
    tmp_path: Path, mask: int, file: int, folder: int
) -> None:
    before = os.umask(mask)
    try:
        with files.scratch(tmp_path / "made") as temporary:
            files.write_text(temporary / "a.txt", "private")
            files.publish(temporary, tmp_path / "made")
    finally:
        os.umask(before)
    assert (tmp_path / "made").stat().st_mode & 0o777 == folder
    assert (tmp_path / "made/a.txt").stat().st_mode & 0o777 == file


@pytest.mark.parametrize("content", [{"name": "an extension"}, {"files": ["a"]}, [], {"files": 1}])
def test_a_manifest_of_another_program_is_one_line(tmp_path: Path, content: object) -> None:
    (tmp_path / files.MANIFEST).write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"manifest\.json is not a manifest of trimllm"):
        files.verify_manifest(tmp_path)


def test_a_line_that_is_not_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"a": 1}\n\n{"a": }\n')
    with pytest.raises(UserError, match=r"a\.jsonl, line 3 is not JSON"):
        files.read_jsonl(tmp_path / "a.jsonl")
    for name, words in (("b.json", "does not exist"), ("a.jsonl", "is not JSON")):
        with pytest.raises(UserError, match=words):
            files.read_json(tmp_path / name)
