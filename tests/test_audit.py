"""`make audit`: what is locked is listed without a network; what is known of it, or why not."""

from __future__ import annotations

import json
import os
import re
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PYTHON = ROOT / ".envs/audit/bin/python"
needs_tools = pytest.mark.skipif(not PYTHON.is_file(), reason="not built (make audit builds it)")
# A port that nobody listens to.
NOWHERE = "http://127.0.0.1:9"
KNOWN = {"jinja2": "3.1.6", "torch": "2.13.0"}


def advice(name: str) -> dict[str, object]:
    """What OSV says of a release with a known vulnerability."""
    events = [{"introduced": "0"}, {"fixed": "9.9"}]
    affected = {
        "package": {"ecosystem": "PyPI", "name": name},
        "ranges": [{"type": "ECOSYSTEM", "events": events}],
        "versions": [KNOWN[name]],
    }
    return {"id": "PYSEC-1-2", "aliases": [], "summary": "bad", "affected": [affected]}


def audit(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """The program behind the target, in a folder of its own, where only this host is reached."""
    command = [str(PYTHON), str(ROOT / "envs/audit/audit.py"), *words]
    env = {name: text for name, text in os.environ.items() if not name.lower().endswith("_proxy")}
    env |= {"HTTPS_PROXY": NOWHERE, "HTTP_PROXY": NOWHERE, "NO_PROXY": "127.0.0.1"}
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=env)


@pytest.fixture
def advisories() -> Iterator[str]:
    """Where a service answers as OSV's does: two releases have a known vulnerability."""

    class Service(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            name = asked["package"]["name"]
            known = KNOWN.get(name) == asked["version"]
            text = json.dumps({"vulns": [advice(name)]} if known else {}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def locks() -> list[Path]:
    """The locks that the target names."""
    words = ["make", "--dry-run", "--always-make", "audit"]
    told = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, check=True).stdout
    (line,) = [line for line in told.splitlines() if "audit.py" in line]
    return [ROOT / name for name in line.partition("audit.py ")[2].partition(" --")[0].split()]


def pinned(lock: Path) -> list[str]:
    """NAME==VERSION of each line that is no comment."""
    lines = [line for line in lock.read_text().splitlines() if line and line[0] != "#"]
    assert all(re.fullmatch(r"[\w.-]+==[\w.+]+", line) for line in lines), lock
    return lines


def test_every_lock_is_looked_at() -> None:
    assert {*locks()} == {*ROOT.glob("*.lock"), *ROOT.glob("envs/*/*.lock")}
    assert ROOT / "envs/audit/requirements.lock" in locks() and all(map(pinned, locks()))


@needs_tools
def test_without_a_network_the_bill_is_whole_and_the_rest_one_line(tmp_path: Path) -> None:
    # (Nor from what an earlier audit has kept.)
    run = audit(tmp_path, *map(str, locks()), "--", "--cache-dir", str(tmp_path / "cache"))
    (line,) = run.stderr.splitlines()
    assert run.returncode == 2 and not run.stdout
    assert line.startswith(
        "error: no advisories (pypi.org does not answer); this needs the network"
    )
    bill = json.loads((tmp_path / "build/sbom.json").read_text())
    assert bill["bomFormat"] == "CycloneDX"
    listed = {f"{one['name']}=={one['version']}" for one in bill["components"]}
    assert listed == {one for lock in locks() for one in pinned(lock)}


@needs_tools
def test_what_is_known_is_told(tmp_path: Path, advisories: str) -> None:
    """By release: of a build of one for CPUs, the release's. Two locks may differ in it."""
    for name, text in (("a", "Jinja2==3.1.6\ntorch==2.13.0+cpu\n"), ("b", "Jinja2==3.9\n")):
        (tmp_path / f"{name}.lock").write_text(f"# a comment\n{text}")
    service = ["--", "-s", "osv", "--osv-url", advisories]
    run = audit(tmp_path, "a.lock", "b.lock", *service)
    assert run.returncode == 1, run.stderr
    assert run.stdout.splitlines() == [
        "jinja2 3.1.6: PYSEC-1-2, mended by 9.9",
        "torch 2.13.0: PYSEC-1-2, mended by 9.9",
        "2 known vulnerabilities; 3 releases of 2 locks are listed in build/sbom.json",
    ]
    run = audit(tmp_path, "b.lock", *service)
    assert run.returncode == 0 and run.stdout.startswith("No known vulnerabilities; 1 releases")
