"""A headless Chromium that opens a file and tells what it saw, over its debugging pipe.

The protocol is JSON, one message ended by a zero byte, on file descriptors 3 (to the browser) and
4 (from it): https://chromedevtools.github.io/devtools-protocol/. The browser gets no network: every
name resolves to nowhere, and a page that asks for anything is found out.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe"),
    *("--no-first-run", "--disable-extensions", "--disable-background-networking"),
    *("--disable-dev-shm-usage", "--host-resolver-rules=MAP * ~NOTFOUND", "about:blank"),
)


def find() -> str | None:
    """Path of the browser, if there is one."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Page:
    """One page: evaluates JavaScript, and collects errors of its console and requests."""

    def __init__(self, write: int, read: int) -> None:
        self._write, self._read = write, os.fdopen(read, "rb")
        self._number = 0
        self.errors: list[str] = []
        self.requests: list[str] = []
        target = self._ask("Target.createTarget", url="about:blank")["targetId"]
        attached = self._ask("Target.attachToTarget", targetId=target, flatten=True)
        self._session: str | None = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._ask(f"{domain}.enable")

    _session = None

    def _ask(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a command and read until its answer, noting what happens meanwhile."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            told = self._message()
            if told.get("id") == self._number:
                assert "error" not in told, told["error"]
                return told["result"]

    def _message(self) -> dict[str, Any]:
        raw = bytearray()
        while (byte := self._read.read(1)) != b"\0":
            assert byte, "the browser ended"
            raw += byte
        told = json.loads(raw)
        self._note(told.get("method"), told.get("params", {}))
        return told

    def _note(self, method: str | None, params: dict[str, Any]) -> None:
        if method == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(params["exceptionDetails"])[:600])
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "assert"):
            self.errors.append(json.dumps(params["args"])[:600])
        elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.errors.append(json.dumps(params["entry"])[:600])
        elif method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"][:200])

    def open(self, path: Path) -> None:
        """Load a local file and wait until it is complete."""
        self._ask("Page.navigate", url=path.resolve().as_uri())
        self.wait_for("document.readyState === 'complete' && location.href !== 'about:blank'")

    def resize(self, width: int, height: int) -> None:
        """Show pages as on a screen of so many pixels."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self._ask("Emulation.setDeviceMetricsOverride", **size)

    def run(self, script: str) -> Any:
        """Value of a JavaScript expression; promises are awaited."""
        params = {"expression": script, "returnByValue": True, "awaitPromise": True}
        told = self._ask("Runtime.evaluate", **params)
        assert "exceptionDetails" not in told, told["exceptionDetails"]
        return told["result"].get("value")

    def wait_for(self, condition: str, seconds: float = 60) -> None:
        """Wait until an expression is true."""
        end = time.monotonic() + seconds
        while not self.run(condition):
            assert time.monotonic() < end, f"still not: {condition}"
            time.sleep(0.1)


@contextmanager
def opened() -> Iterator[Page]:
    """A page for a test, which is skipped where there is no browser, if there may be none."""
    path = find()
    if path is None:
        assert "TRIMLLM_NEEDS_BROWSER" not in os.environ, "Chromium is not installed"
        pytest.skip("no Chromium here (Debian package chromium): the report was not opened")
    with chromium(path) as page:
        yield page


@contextmanager
def chromium(path: str) -> Iterator[Page]:
    """A page in a fresh browser with a profile of its own."""
    to_browser, write = os.pipe()
    read, from_browser = os.pipe()
    # The browser's ends must be 3 and 4 there; a shell puts them so whatever their numbers here.
    script = f'exec "$@" 3<&{to_browser} 4>&{from_browser}'
    # A killed browser's own processes may still write there for a moment.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        words = ["bash", "-c", script, "bash", path, f"--user-data-dir={profile}", *FLAGS]
        process = subprocess.Popen(
            words, pass_fds=(to_browser, from_browser), stderr=subprocess.DEVNULL
        )
        os.close(to_browser)
        os.close(from_browser)
        try:
            yield Page(write, read)
        finally:
            process.kill()
            process.wait()
            os.close(write)


VISIBLE = """
(() => {
  const wide = document.documentElement.clientWidth;
  const all = [...document.querySelectorAll('h1, h2, p, pre, svg, td, .facts div')];
  const hidden = all.filter(one => {
    const box = one.getBoundingClientRect();
    return !(box.width > 0 && box.height > 0 && box.left >= -1 && box.right <= wide + 1
      && getComputedStyle(one).visibility === 'visible');
  });
  return {count: all.length, hidden: hidden.map(one => one.outerHTML.slice(0, 120)),
    wide, scrolled: document.documentElement.scrollWidth};
})()
"""
SECTIONS = ("choice", "confirmed", "serve", "table", "answers", "cost")


def check_report(page: Page, width: int, documents: int = 20) -> None:
    """The opened report of one's own data: all of it is seen at a width of so many pixels, nothing
    is asked of a network, no error stands in the console."""
    found = page.run(VISIBLE)
    assert page.run("window.innerWidth") == width
    assert found["scrolled"] <= found["wide"], found
    assert found["count"] > 5 * documents and not found["hidden"]
    for section in SECTIONS:
        assert page.run(f"document.getElementById('{section}').innerText.length") > 20, section
    # A decision needs no scrolling on a screen.
    last = "document.getElementById('serve').getBoundingClientRect().bottom"
    assert width < 1000 or page.run(last) <= page.run("window.innerHeight")
    # text of the charts is large enough to be read
    smallest = "Math.min(...[...document.querySelectorAll('svg')].map(s => s.clientWidth))"
    assert page.run(smallest) >= 250
    assert page.run("document.querySelectorAll('#answers tbody tr').length") == documents
    assert not page.errors
    assert all(url.startswith(("file:", "data:")) for url in page.requests), page.requests
