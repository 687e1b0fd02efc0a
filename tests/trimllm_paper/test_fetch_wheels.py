"""Wheels: fetched once, whole and checked, whatever happens to the network or the process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from wheels import make_wheel

import trimllm_paper
from trimllm.base.errors import UserError
from trimllm_paper.fetch.wheels import fetch_wheels, unpacked

FILE = "some_data-1.0-py3-none-any.whl"
HALF = """
import subprocess, sys, time
from pathlib import Path
from trimllm_paper.fetch.wheels import fetch_wheels

def pip(command):
    Path(command[command.index("--dest") + 1], sys.argv[2]).write_bytes(b"half")
    print("half", flush=True)
    time.sleep(600)

subprocess.run = pip
fetch_wheels({"some-data": {"version": "1.0", "sha256": "0"}}, sys.argv[1])
"""


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


def test_a_network_that_is_cut_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name, value in {"INDEX_URL": "http://127.0.0.1:9/", "RETRIES": "0"}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    with pytest.raises(
        UserError, match=r"^wheel some-data 1\.0 cannot be fetched from the package index"
    ):
        fetch("0", tmp_path / "downloads")
    assert "No matching distribution found for some-data==1.0" in capfd.readouterr().err
    assert os.listdir(tmp_path / "downloads") == []


def test_a_killed_fetch_leaves_no_half_wheel(wheel: tuple[Path, str], tmp_path: Path) -> None:
    source, sha256 = wheel
    downloads = tmp_path / "downloads"
    env = os.environ | {"PYTHONPATH": str(Path(trimllm_paper.__file__).parents[1])}
    words = [sys.executable, "-c", HALF, str(downloads), FILE]
    with subprocess.Popen(words, env=env, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "half\n"
        process.kill()
    assert os.listdir(downloads) and not list(downloads.glob("*.whl"))
    assert fetch(sha256, downloads, source.parent).read_bytes() == source.read_bytes()
    assert list(downloads.glob("*.whl")) == [downloads / FILE]


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
