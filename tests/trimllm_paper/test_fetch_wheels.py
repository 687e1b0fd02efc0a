"""Wheels: fetched once, whole and checked, whatever happens to the network or the process."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from wheels import make_wheel

import trimllm_paper
from trimllm.base.errors import UserError
from trimllm_paper.fetch.wheels import fetch_wheels, unpacked

FILE = "some_data-1.0-py3-none-any.whl"
FETCH = """
import sys
from trimllm_paper.fetch.wheels import fetch_wheels
fetch_wheels({"some-data": {"version": "1.0", "sha256": sys.argv[1]}}, sys.argv[2])
"""


@pytest.fixture
def wheel(tmp_path: Path) -> tuple[Path, str]:
    """A wheel in a mirror that takes more than one packet, and its sha256."""
    content = random.Random(0).randbytes(400_000)
    return make_wheel(tmp_path / "mirror", "some-data", {"data.bin": content})


def fetch(sha256: str, folder: Path, mirror: Path | None = None, **changed: str) -> Path:
    spec = {"name": "some-data", "version": "1.0", "sha256": sha256} | changed
    name = spec.pop("name")
    return fetch_wheels({name: spec}, folder, mirror)[name]


@pytest.mark.parametrize("folder", ["downloads", "{}/downloads"])
def test_a_wheel_of_a_mirror_is_copied_once(
    wheel: tuple[Path, str], tmp_path: Path, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (source, sha256), downloads = wheel, Path(folder.format(tmp_path))
    path = fetch(sha256, downloads, source.parent)
    assert path == downloads / FILE and path.read_bytes() == source.read_bytes()
    source.unlink()
    assert fetch(sha256.upper(), downloads, source.parent) == path
    assert os.listdir(downloads) == [FILE]
    path.write_bytes(b"half")
    with pytest.raises(UserError, match="it is corrupt: delete it and run again"):
        fetch(sha256, downloads, source.parent)


@pytest.mark.parametrize(
    "changed, problem",
    [
        ({"version": "2.0"}, r"no wheel of some-data 2\.0 in .*mirror: put it there"),
        ({"sha256": "0" * 64}, "has sha256 .*, not 0000.*; replace it in the mirror"),
    ],
)
def test_another_wheel_is_refused(
    wheel: tuple[Path, str], tmp_path: Path, changed: dict[str, str], problem: str
) -> None:
    source, sha256 = wheel
    with pytest.raises(UserError, match=problem):
        fetch(**({"sha256": sha256} | changed), folder=tmp_path / "new", mirror=source.parent)
    assert os.listdir(tmp_path / "new") == []


def test_a_wheel_is_downloaded_once(
    wheel: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, sha256 = wheel
    downloads = []

    def pip(command: list[str], **how: object) -> subprocess.CompletedProcess:
        downloads.append(command)
        shutil.copy(source, command[command.index("--dest") + 1])
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", pip)
    assert fetch(sha256, tmp_path / "downloads") == fetch(sha256, tmp_path / "downloads")
    assert len(downloads) == 1 and os.listdir(tmp_path / "downloads") == [FILE]
    with pytest.raises(UserError, match=rf"wheels\.some-data: its wheel is {FILE}; write name and"):
        fetch(sha256, tmp_path / "downloads", version="1")


@contextmanager
def index(wheel: Path, half: str) -> Iterator[tuple[dict[str, str], threading.Event]]:
    """A package index that sends half of a wheel, and then is "cut" or "silent".

    Yields pip's environment for it, and an event: half is sent.
    """
    sent, over = threading.Event(), threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = f'<a href="/{wheel.name}">{wheel.name}</a>'.encode()
            is_wheel = self.path.endswith(".whl")
            body = wheel.read_bytes() if is_wheel else page
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: len(body) // 2] if is_wheel else body)
            if is_wheel:
                sent.set()
                if half == "silent":
                    over.wait()

        def log_message(self, *words: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}/"
    pip = {"PIP_INDEX_URL": address, "PIP_CONFIG_FILE": "/dev/null", "PIP_RETRIES": "0"}
    try:
        yield pip | {"PIP_NO_CACHE_DIR": "1", "NO_PROXY": "127.0.0.1"}, sent
    finally:
        over.set()
        server.shutdown()
        server.server_close()


def test_a_network_that_is_cut_is_one_line(
    wheel: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, sha256 = wheel
    with index(source, "cut") as (pip, _):
        for name, value in pip.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(UserError) as error:
            fetch(sha256, tmp_path / "downloads")
    line = str(error.value)
    assert line.startswith("wheel some-data 1.0 cannot be downloaded (") and "\n" not in line
    assert line.endswith("without a network put it into a folder and name that as mirror")
    assert os.listdir(tmp_path / "downloads") == []


def test_a_killed_fetch_leaves_no_half_wheel(wheel: tuple[Path, str], tmp_path: Path) -> None:
    source, sha256 = wheel
    downloads = tmp_path / "downloads"
    with index(source, "silent") as (pip, sent):
        code = {"PYTHONPATH": str(Path(trimllm_paper.__file__).parents[1])}
        words = [sys.executable, "-c", FETCH, sha256, str(downloads)]
        process = subprocess.Popen(words, env=os.environ | code | pip, start_new_session=True)
        assert sent.wait(120)
        os.killpg(process.pid, 9)
        process.wait()
    assert os.listdir(downloads) and not list(downloads.glob("*.whl"))
    assert fetch(sha256, downloads, source.parent).read_bytes() == source.read_bytes()
    assert os.listdir(downloads) == [FILE]


def test_members_of_wheels_become_files(tmp_path: Path) -> None:
    members = {"some_data/a/test.jsonl": "one\n", "some_data/b/test.jsonl": "two\n"}
    path, _ = make_wheel(tmp_path / "downloads", "some-data", members)

    def sources(*members: str) -> list[dict[str, str]]:
        source = {"wheel": "some-data", "member": [*members], "label": "l"}
        spec = {"sets": {"s": {"prompt": "p", "from": [source, {"file": "own.csv"}]}}}
        found = unpacked(spec, {"some-data": path}, tmp_path / "files")["sets"]["s"]
        assert found["prompt"] == "p"
        return found["from"]

    *extracted, own = sources(*members)
    assert [Path(one.pop("file")).read_text() for one in extracted] == [*members.values()]
    assert extracted == [{"label": "l"}] * 2 and own == {"file": "own.csv"}
    with pytest.raises(UserError, match="has no member 'other'"):
        sources("other")
