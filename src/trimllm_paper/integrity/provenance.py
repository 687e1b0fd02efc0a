"""Where a number comes from: code, libraries, machine, time and memory of the run that made it."""

from __future__ import annotations

import hashlib
import json
import subprocess
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from trimllm.base.errors import UserError
from trimllm.base.machine import hardware, peak_rss_bytes, versions
from trimllm_paper import kept_runs

ROOT = Path(__file__).parents[3]
CODE = ("Snakefile", "config", "src", "workflow")
"""What of a checkout marks a commit as changed: figures and kept results do not."""


def config_hash(settings: Mapping[str, Any]) -> str:
    """SHA-256 of a job's parameters, hexadecimal."""
    text = json.dumps(dict(settings), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def recorded(path: str | Path) -> dict[str, Any]:
    """The provenance that a JSON result or a manifest carries; empty where it has none."""
    try:
        content = kept_runs.read_json(path)
    except (OSError, UserError):
        return {}
    provenance = content.get("provenance") if isinstance(content, dict) else None
    return provenance if isinstance(provenance, dict) else {}


def folder_content(folder: str | Path) -> dict[str, list[Any]]:
    """Name, bytes, and hash of the first and last MiB of each file: planning hashes no 13 GB."""
    content = {}
    for path in sorted(path for path in Path(folder).rglob("*") if path.is_file()):
        size = path.stat().st_size
        with path.open("rb") as stream:
            digest = hashlib.sha256(stream.read(1 << 20))
            stream.seek(max(0, size - (1 << 20)))
            digest.update(stream.read())
        content[path.relative_to(folder).as_posix()] = [size, digest.hexdigest()]
    return content


@cache
def git_commit() -> str | None:
    """Commit of this checkout, with "-dirty" after changes to its code; None outside of git."""

    def git(*words: str) -> str:
        command = ["git", *words]
        run = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=20, check=True
        )
        return run.stdout.strip()

    try:
        commit = git("rev-parse", "HEAD")
        changes = git("status", "--porcelain", "-uno", "--", *(f":/{name}" for name in CODE))
    except (OSError, subprocess.SubprocessError):
        return None
    return commit + ("-dirty" if changes else "")


class Run:
    """A piece of work that begins now.

    >>> sorted(Run("0" * 64).record(seed=0))[:3]
    ['code_hash', 'git_commit', 'hardware']
    """

    def __init__(self, code_hash: str) -> None:
        self.code_hash, self.started = code_hash, datetime.now(UTC)
        self._start = time.perf_counter()

    def record(self, **extra: Any) -> dict[str, Any]:
        """Provenance of the work so far, with what else the caller knows."""
        return {
            "started": self.started.isoformat(timespec="seconds"),
            "wall_seconds": round(time.perf_counter() - self._start, 3),
            "peak_rss_bytes": peak_rss_bytes(),
            "hardware": hardware(),
            "versions": versions(),
            "git_commit": git_commit(),
            "code_hash": self.code_hash,
            **extra,
        }
