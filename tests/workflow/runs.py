"""Runs of the workflow, each in a folder of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SMOKE = ROOT / "config" / "smoke.yaml"
MODEL = "results/models/smollm2-135m"
RUN = "trim_both_r0.25_d15"


def command(
    directory: Path, *arguments: str, configfile: Path | None = SMOKE, **config: object
) -> list[str]:
    """Command line of a run in `directory`; wheels come from the project's downloads/."""
    settings = {"results": "results", "downloads": str(ROOT / "downloads"), **config}
    words = [sys.executable, "-m", "snakemake", *arguments, "--cores", "2"]
    words += ["--snakefile", str(ROOT / "Snakefile"), "--directory", str(directory)]
    words += ["--configfile", str(configfile)] if configfile else []
    return [*words, "--config", *(f"{key}={value}" for key, value in settings.items())]


def environment() -> dict[str, str]:
    """The caller's environment with the library on its path."""
    return {**os.environ, "PYTHONPATH": str(ROOT / "src")}


def snakemake(
    directory: Path, *arguments: str, **options: object
) -> subprocess.CompletedProcess[str]:
    """Run Snakemake to its end; output and errors as texts."""
    words = command(directory, *arguments, **options)
    return subprocess.run(
        words, capture_output=True, text=True, env=environment(), cwd=directory, timeout=900
    )


def counts(dry_run: str) -> dict[str, int]:
    """Rule -> number of jobs, from a dry run's last table."""
    rows = dry_run.rsplit("Job stats:", 1)[1].split("total", 1)[0].splitlines()
    pairs = [row.split() for row in rows]
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}


def listing(directory: Path) -> dict[str, float]:
    """Every file of a folder with its time, Snakemake's own left out."""
    return {
        path.relative_to(directory).as_posix(): path.stat().st_mtime
        for path in directory.rglob("*")
        if path.is_file() and ".snakemake" not in path.parts
    }


def lint() -> set[str]:
    """Titles of what `snakemake --lint` complains of."""
    words = [sys.executable, "-m", "snakemake", "--lint"]
    run = subprocess.run(words, capture_output=True, text=True, env=environment(), cwd=ROOT)
    assert "Lints for" in run.stderr or run.returncode == 0, run.stderr
    return {line[6:] for line in run.stderr.splitlines() if line.startswith("    * ")}
