"""Atomic files: modes, manifests of others, and file systems that refuse to rename."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from mounts import mounts

from trimllm.base import files
from trimllm.base.errors import UserError

WRITE = "import sys; from trimllm.base import files; files.write_json(sys.argv[1], {'is': 'new'})"
PUBLISH = "import sys; from trimllm.base import files; files.publish(*sys.argv[1:])"


def checkpoint(folder: Path, name: str) -> Path:
    files.write_json(folder / name / "config.json", {"is": name})
    files.write_manifest(folder / name)
    return folder / name


@pytest.mark.parametrize("code, stuck", [(WRITE, "file"), (PUBLISH, "new"), (PUBLISH, "old")])
def test_what_cannot_be_replaced_stays(tmp_path: Path, code: str, stuck: str) -> None:
    """A file; and a checkpoint, whether the old one cannot be moved away or, after that, the new
    one not moved there. A mount point cannot be renamed."""
    old, new, file = (tmp_path / name for name in ("old", "new", "file"))
    checkpoint(tmp_path, "old"), checkpoint(tmp_path, "new")
    files.write_json(file, {"is": "file"})
    with mounts() as room:
        room.mount("--bind", tmp_path / stuck, tmp_path / stuck)
        words = [
            *room.prefix,
            sys.executable,
            "-c",
            code,
            *([file] if code == WRITE else [new, old]),
        ]
        path = {"PYTHONPATH": str(Path(files.__file__).parents[2])}
        run = subprocess.run(words, capture_output=True, text=True, env={**os.environ, **path})
        assert "Device or resource busy" in run.stderr.splitlines()[-1]
    for path in (old, new):
        assert files.verify_manifest(path)
        assert files.read_json(path / "config.json") == {"is": path.name}
    assert files.read_json(file) == {"is": "file"}
    assert sorted(tmp_path.iterdir()) == [file, new, old]


def test_an_old_checkpoint_survives_renames_that_fail_both_ways(
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
    assert files.verify_manifest(old) and sorted(tmp_path.iterdir()) == [new, old]
    files.publish(new, old)
    assert files.read_json(old / "config.json") == {"is": "new"}
    assert list(tmp_path.iterdir()) == [old]


def test_what_others_write_stays_while_they_live(tmp_path: Path) -> None:
    """A process of this host, or of another one for a day."""
    with subprocess.Popen(["sleep", "60"]) as other:
        here, there = (
            tmp_path / f".a.tmp-{other.pid}@{host}@0"
            for host in (socket.gethostname(), "elsewhere")
        )
        here.touch(), there.touch()
        files.remove_leftovers(tmp_path / "a")
        assert sorted(tmp_path.iterdir()) == sorted([here, there])
        other.kill()
    os.utime(there, (1, 1))
    files.remove_leftovers(tmp_path / "a")
    assert not [*tmp_path.iterdir()]


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


@pytest.mark.parametrize(
    "content, reason", [(None, "not exist"), (b"{", "JSON"), (b"\xff", "JSON")]
)
def test_what_is_not_json_is_one_line(tmp_path: Path, content: bytes | None, reason: str) -> None:
    if content:
        (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(UserError, match=rf"a\.json .*{reason}"):
        files.read_json(tmp_path / "a.json")
