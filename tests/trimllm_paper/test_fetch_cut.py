"""A fetch whose network is cut, or that is killed, half-way: real pip, an index on this machine."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from wheels import make_wheel

import trimllm_paper
from trimllm.base.errors import UserError
from trimllm_paper.fetch.wheels import fetch_wheel, fetch_wheels

FETCH = "import sys; from trimllm_paper.fetch.wheels import fetch_wheel; fetch_wheel(*sys.argv[1:])"


@pytest.fixture
def wheel(tmp_path: Path) -> tuple[Path, str]:
    """A wheel that takes more than one packet, and its sha256."""
    content = random.Random(0).randbytes(400_000)
    return make_wheel(tmp_path / "index", "some-data", {"data.bin": content})


@contextmanager
def index(wheel: Path, half: str) -> Iterator[tuple[dict[str, str], threading.Event]]:
    """An index that gives half of a wheel, and then is "cut" or "silent".

    Yields pip's environment for it, and an event: half is sent.
    """
    sent, over = threading.Event(), threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            whole = wheel.read_bytes()
            page = f'<a href="/{wheel.name}">{wheel.name}</a>'.encode()
            body = whole if self.path.endswith(".whl") else page
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if body is page:
                self.wfile.write(body)
                return
            self.wfile.write(body[: len(body) // 2])
            sent.set()
            if half == "silent":
                over.wait()

        def log_message(self, *words: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    where = {
        "PIP_INDEX_URL": f"http://127.0.0.1:{server.server_port}/",
        "PIP_CONFIG_FILE": "/dev/null",
    }
    try:
        yield where | {"PIP_RETRIES": "0", "PIP_NO_CACHE_DIR": "1", "NO_PROXY": "127.0.0.1"}, sent
    finally:
        over.set()
        server.shutdown()
        server.server_close()


def test_a_network_that_is_cut_is_one_line(
    wheel: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, sha256 = wheel
    with index(path, "cut") as (where, _):
        for name, value in where.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(UserError) as caught:
            fetch_wheel("some-data", "1.0", sha256, tmp_path / "downloads")
    told = str(caught.value)
    assert told.startswith("wheel some-data 1.0 cannot be downloaded (") and "\n" not in told
    assert told.endswith("without a network put it into a folder and name that as mirror")
    assert os.listdir(tmp_path / "downloads") == []
    found = fetch_wheel("some-data", "1.0", sha256, tmp_path / "downloads", path.parent)
    assert found.read_bytes() == path.read_bytes()


def test_half_a_wheel_of_a_fetch_that_was_killed_is_none(
    wheel: tuple[Path, str], tmp_path: Path
) -> None:
    path, sha256 = wheel
    downloads = tmp_path / "downloads"
    with index(path, "silent") as (where, sent):
        code = {"PYTHONPATH": str(Path(trimllm_paper.__file__).parents[1])}
        words = [sys.executable, "-c", FETCH, "some-data", "1.0", sha256, str(downloads)]
        fetching = subprocess.Popen(words, env=os.environ | code | where, start_new_session=True)
        assert sent.wait(120)
        os.killpg(fetching.pid, 9)
        fetching.wait()
    assert len(os.listdir(downloads)) == 1 and not list(downloads.glob("*.whl"))
    # A job that fetches again leaves what is young, which another may be writing, and removes it
    # when it is a day old.
    wheels = {"some-data": {"version": "1.0", "sha256": sha256, "tag": "py3-none-any"}}
    (half,) = downloads.iterdir()
    fetch_wheels(wheels, downloads, path.parent)
    (whole,) = downloads.glob("*.whl")
    assert whole.read_bytes() == path.read_bytes() and half.is_dir()
    os.utime(half, (time.time() - 90_000,) * 2)
    fetch_wheels(wheels, downloads, path.parent)
    assert list(downloads.iterdir()) == [whole]
