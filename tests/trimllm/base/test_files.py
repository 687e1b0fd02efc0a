"""Atomic files: modes, manifests of others, and file systems that refuse to rename."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from mounts import mounts

from trimllm.base import files
from trimllm.base.errors import UserError

WRITE = "import sys; from trimllm.base import files; files.write_json(sys.argv[1], {'is': 'new'})"
PUBLISH = "import sys; from trimllm.base import files; files.publish(*sys.argv[1:])"


@pytest.fixture
def made(tmp_path):
    """Two checkpoints and a file."""
    for name in ("old", "new"):
        files.write_json(tmp_path / name / "config.json", {"is": name})
        files.write_manifest(tmp_path / name)
    files.write_json(tmp_path / "file", {"is": "file"})
    return {name: tmp_path / name for name in ("old", "new", "file")}


@pytest.mark.parametrize("code, stuck", [(WRITE, "file"), (PUBLISH, "new"), (PUBLISH, "old")])
def test_what_cannot_be_replaced_stays(made, code, stuck):
    """A file; and a checkpoint, whether the old one cannot be moved away or, after that, the new
    one not moved there. A mount point cannot be renamed."""
    paths = [made["file"]] if code == WRITE else [made["new"], made["old"]]
    with mounts() as within:
        subprocess.run([*within, "mount", "--bind", made[stuck], made[stuck]], check=True)
        words = [*within, sys.executable, "-c", code, *paths]
        env = os.environ | {"PYTHONPATH": str(Path(files.__file__).parents[2])}
        run = subprocess.run(words, capture_output=True, text=True, env=env)
        assert "Device or resource busy" in run.stderr.splitlines()[-1]
    for name in ("old", "new"):
        assert files.verify_manifest(made[name])
        assert files.read_json(made[name] / "config.json") == {"is": name}
    assert files.read_json(made["file"]) == {"is": "file"}
    assert {*made["file"].parent.iterdir()} == {*made.values()}


def test_files_have_the_mode_that_the_umask_leaves(tmp_path):
    before = os.umask(0o027)
    try:
        with files.scratch(tmp_path / "made") as temporary:
            files.write_text(temporary / "a.txt", "private")
            files.publish(temporary, tmp_path / "made")
    finally:
        os.umask(before)
    made = tmp_path / "made"
    assert [path.stat().st_mode & 0o777 for path in (made, made / "a.txt")] == [0o750, 0o640]


@pytest.mark.parametrize("content", [b'{"files": ["a"]}', b"[]", None, b"{", b"\xff"])
def test_a_manifest_that_is_none_is_one_line(tmp_path, content):
    if content:
        (tmp_path / files.MANIFEST).write_bytes(content)
    message = r"manifest\.json (is not a manifest of trimllm|does not exist|is not JSON)"
    with pytest.raises(UserError, match=message):
        files.verify_manifest(tmp_path)
