"""A headless Chromium that opens a file in a frame of some size and evaluates JavaScript there.

The browser gets no network: every name resolves to nowhere.
"""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--dump-dom"),
    *("--disable-extensions", "--disable-background-networking", "--enable-logging=stderr"),
    *("--host-resolver-rules=MAP * ~NOTFOUND", "--allow-file-access-from-files"),
    *("--virtual-time-budget=60000", "--window-size=1600,1200"),
)
FRAME = """<iframe id="frame" src="{source}" width="{width}" height="{height}"></iframe>
<pre id="answer"></pre>
<script>
const frame = document.getElementById('frame');
const until = async condition => {{
  while (!condition()) await new Promise(done => setTimeout(done, 50));
}};
frame.onload = async () => {{
  const window = frame.contentWindow, document = frame.contentDocument;
  const answer = await window.eval({script})(until);
  const requests = window.performance.getEntriesByType('resource').map(one => one.name);
  frame.ownerDocument.getElementById('answer').textContent = JSON.stringify({{answer, requests}});
}};
</script>"""


def evaluate(page: Path, script: str, width: int = 1280, height: int = 900) -> Any:
    """Value of a JavaScript function of a page, `async until => ...`, where `until(condition)`
    waits; asserts that the page logs nothing and loads nothing but itself. Skips where there is
    no browser, if there may be none."""
    path = next((path for name in NAMES if (path := shutil.which(name))), None)
    if path is None:
        assert "TRIMLLM_NEEDS_BROWSER" not in os.environ, "Chromium is not installed"
        pytest.skip("no Chromium here (Debian package chromium): the page was not opened")
    size = {"width": width, "height": height}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        outer = Path(profile, "frame.html")
        source, quoted = page.resolve().as_uri(), json.dumps(f"({script})")
        outer.write_text(FRAME.format(source=source, script=quoted, **size), encoding="utf-8")
        command = [path, *FLAGS, f"--user-data-dir={profile}/profile", outer.as_uri()]
        run = subprocess.run(command, capture_output=True, text=True, timeout=120)
    logged = [line for line in run.stderr.splitlines() if "CONSOLE" in line]
    logged = [line for line in logged if "cdn.tailwindcss.com" not in line]  # Snakemake's report
    assert not logged, logged
    (found,) = re.findall(r'<pre id="answer">(.*?)</pre>', run.stdout, re.DOTALL)
    assert found, run.stderr[-2000:]
    told = json.loads(html.unescape(found))
    schemes = {url.partition(":")[0] for url in told["requests"]}
    assert schemes <= {"file", "data", "blob"}, told["requests"]
    return told["answer"]


LAYOUT = """async until => {
  const root = document.documentElement, wide = root.clientWidth;
  const all = [...document.querySelectorAll('h1, h2, p, pre, svg, td, .facts div')];
  const hidden = all.filter(one => {
    const box = one.getBoundingClientRect();
    return !(box.width > 0 && box.height > 0 && box.left >= -1 && box.right <= wide + 1
      && getComputedStyle(one).visibility === 'visible');
  });
  const length = id => document.getElementById(id).innerText.length;
  return {width: window.innerWidth, wide, scrolled: root.scrollWidth, count: all.length,
    hidden: hidden.map(one => one.outerHTML.slice(0, 120)),
    texts: ['choice', 'confirmed', 'serve', 'table', 'answers', 'cost'].map(length),
    chart: document.querySelector('svg').clientWidth,
    documents: document.querySelectorAll('#answers tbody tr').length,
    decided: document.getElementById('serve').getBoundingClientRect().bottom};
}"""


def check_report(page: Path, width: int, height: int, documents: int = 20) -> None:
    """The report of one's own data: all of it is seen on a screen of so many pixels, and what a
    decision needs without scrolling on a wide one."""
    found = evaluate(page, LAYOUT, width, height)
    assert found["width"] == width and found["scrolled"] <= found["wide"], found
    assert found["count"] > 5 * documents and not found["hidden"]
    assert min(found["texts"]) > 20 and found["chart"] >= 250
    assert found["documents"] == documents
    assert width < 1000 or found["decided"] <= height
