"""Where a number comes from: code, libraries, machine, time and memory of the run that made it."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

LIBRARIES = ("torch", "transformers", "tokenizers", "safetensors", "datasets", "lm_eval", "numpy")
PACKAGE = Path(__file__).parents[1]


@cache
def code_hash(*rooms: str) -> str:
    """SHA-256 of the library's own source (all of it, or the named rooms), hexadecimal."""
    digest = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*")):
        relative = path.relative_to(PACKAGE)
        room = relative.parts[0].removesuffix(".py")
        if path.suffix in {".py", ".yaml"} and (not rooms or room in rooms):
            digest.update(relative.as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def config_hash(settings: Mapping[str, Any]) -> str:
    """SHA-256 of everything that a result depends on beside its inputs, hexadecimal."""
    text = json.dumps(dict(settings), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def recorded(path: str | Path) -> dict[str, Any]:
    """The provenance that a JSON result or a manifest carries; empty where it has none."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    found = content.get("provenance") if isinstance(content, dict) else None
    return found if isinstance(found, dict) else {}


@cache
def git_commit() -> str | None:
    """Commit of the checkout that this library lies in, with "-dirty" after changes to its code.

    Figures and kept results are not code: a run draws over them.
    """
    git = ["git", "-C", str(PACKAGE)]
    code = [f":/{name}" for name in ("Snakefile", "config", "src", "workflow")]
    changes = [*git, "status", "--porcelain", "--untracked-files=no", "--", *code]
    try:
        commit, changed = (
            subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout
            for command in ([*git, "rev-parse", "HEAD"], changes)
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return commit.strip() + ("-dirty" if changed.strip() else "")


@cache
def versions(*more: str) -> dict[str, str]:
    """Versions of Python and of the libraries (and `more`) that can change a number."""
    found = {"python": platform.python_version()}
    for name in (*LIBRARIES, *more):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def cpu_name() -> str:
    """Name of the processor as the system gives it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def memory_bytes() -> int:
    """Physical memory of this machine, lowered by a cgroup limit where there is one."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
    except OSError:
        limit = "max"
    return min(total, int(limit)) if limit.isdigit() else total


def hardware() -> dict[str, Any]:
    """Processor, usable cores, threads of torch, memory, and GPU if there is one."""
    found: dict[str, Any] = {
        "cpu": cpu_name(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1,
        "memory_bytes": memory_bytes(),
        "gpu": None,
    }
    torch = sys.modules.get("torch")
    if torch is not None:
        found["threads"] = torch.get_num_threads()
        found["vector_units"] = torch.backends.cpu.get_cpu_capability()
        if torch.cuda.is_available():
            found["gpu"] = torch.cuda.get_device_name()
    return found


def peak_rss_bytes() -> int:
    """Largest resident memory of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


class Run:
    """Times a piece of work; `record` gives its provenance as a JSON object.

    >>> with Run() as run:
    ...     pass
    >>> sorted(run.record(seed=0))[:3]
    ['code_hash', 'git_commit', 'hardware']
    """

    def __enter__(self) -> Run:
        self.started = datetime.now(UTC)
        self._start = time.perf_counter()
        return self

    def __exit__(self, *error: object) -> None:
        self.seconds = time.perf_counter() - self._start

    def record(self, **extra: Any) -> dict[str, Any]:
        """Provenance of the work so far, with whatever the caller knows (seed, config hash)."""
        seconds = getattr(self, "seconds", time.perf_counter() - self._start)
        return {
            "started": self.started.isoformat(timespec="seconds"),
            "wall_seconds": round(seconds, 3),
            "peak_rss_bytes": peak_rss_bytes(),
            "hardware": hardware(),
            "versions": versions(),
            "git_commit": git_commit(),
            "code_hash": code_hash(),
            **extra,
        }
