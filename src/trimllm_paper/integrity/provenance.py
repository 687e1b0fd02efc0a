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
from subprocess import DEVNULL
from typing import Any

from trimllm.base.errors import UserError
from trimllm.base.machine import hardware, peak_rss_bytes, versions
from trimllm_paper import kept_runs

ROOT = Path(__file__).parents[3]
# What of a checkout is code: figures and kept results are not, a run draws over them.
CODE = ("Snakefile", "config", "src", "workflow")


def config_hash(settings: Mapping[str, Any]) -> str:
    """SHA-256 of everything that a result depends on beside its inputs, hexadecimal."""
    text = json.dumps(dict(settings), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def recorded(path: str | Path) -> dict[str, Any]:
    """The provenance that a JSON result or a manifest carries; empty where it has none."""
    try:
        content = kept_runs.read_json(path)
    except (OSError, UserError):
        return {}
    found = content.get("provenance") if isinstance(content, dict) else None
    return found if isinstance(found, dict) else {}


@cache
def git_commit() -> str | None:
    """Commit of the checkout that this lies in, with "-dirty" after changes to its code."""
    changes = ["status", "--porcelain", "--untracked-files=no", "--", *(f":/{n}" for n in CODE)]
    try:
        commit, changed = (
            subprocess.check_output(
                ["git", *words], cwd=ROOT, text=True, stderr=DEVNULL, timeout=20
            )
            for words in (["rev-parse", "HEAD"], changes)
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return commit.strip() + ("-dirty" if changed.strip() else "")


class Run:
    """A piece of work from now on; `record` gives its provenance as a JSON object.

    Args:
        code_hash: of the code that does it.

    >>> sorted(Run("0" * 64).record(seed=0))[:3]
    ['code_hash', 'git_commit', 'hardware']
    """

    def __init__(self, code_hash: str) -> None:
        self.code_hash, self.started, self._start = (
            code_hash,
            datetime.now(UTC),
            time.perf_counter(),
        )

    def record(self, **extra: Any) -> dict[str, Any]:
        """Provenance of the work so far, with whatever the caller knows (seed, config hash)."""
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
