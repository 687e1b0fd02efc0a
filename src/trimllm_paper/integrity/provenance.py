"""Where a number comes from: code, libraries, machine, time and memory of the run that made it."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from trimllm.base.errors import UserError
from trimllm.base.machine import hardware, peak_rss_bytes, versions
from trimllm_paper import kept_runs

ROOT = Path(__file__).parents[3]
CODE = (":/Snakefile", ":/config", ":/src", ":/workflow")  # what marks a commit as changed


def config_hash(settings: Mapping[str, Any]) -> str:
    """SHA-256 of a job's parameters, hexadecimal."""
    text = json.dumps(dict(settings), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def recorded(path: str | Path) -> dict[str, Any]:
    """The provenance that a JSON result or a manifest carries; empty where it has none."""
    try:
        return dict(kept_runs.read_json(path)["provenance"])
    except (OSError, UserError, KeyError, TypeError, ValueError):
        return {}


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


def git_commit() -> str | None:
    """Commit of this checkout, with "-dirty" after changes to its code; None outside of git."""
    head = ["git", "rev-parse", "HEAD"]
    changes = ["git", "status", "--porcelain", "-uno", "--", *CODE]
    try:
        commit, changed = (
            subprocess.run(one, cwd=ROOT, capture_output=True, text=True, timeout=20, check=True)
            for one in (head, changes)
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return commit.stdout.strip() + ("-dirty" if changed.stdout else "")


def record(started: datetime, code_hash: str, **extra: Any) -> dict[str, Any]:
    """Provenance of work that began at `started` (UTC), with what else the caller knows."""
    return {
        "started": started.isoformat(timespec="seconds"),
        "wall_seconds": round((datetime.now(UTC) - started).total_seconds(), 3),
        "peak_rss_bytes": peak_rss_bytes(),
        "hardware": hardware(),
        "versions": versions(),
        "git_commit": git_commit(),
        "code_hash": code_hash,
        **extra,
    }
