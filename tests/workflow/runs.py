"""Runs of the workflow, each in a folder of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
SMOKE = ROOT / "config" / "smoke.yaml"
MODEL = "results/models/smollm2-135m"
RUN = "trim_paper"
# A small domain of local files.
ROWS = [{"q": f"What is {i} and one?", "c": [str(i + 1), str(i + 2)], "a": 0} for i in range(200)]
DOMAIN = """
label: sums
licence: none
sets:
  train: &set
    from: [{file: train.jsonl}]
    fields: {question: q, choices: c, answer: a}
  calibration:
    <<: *set
    from: [{file: calibration.jsonl}]
  test:
    <<: *set
    from: [{file: test.jsonl}]
train: train
calibration: calibration
tests:
  sums: {set: test}
"""


def _network_cutter() -> list[str]:
    """What to put before a command so that it runs without a network; empty where not allowed."""
    words = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--net"]
    allowed = shutil.which("unshare") and subprocess.run([*words, "true"], capture_output=True)
    return words if allowed and allowed.returncode == 0 else []


CUT = _network_cutter()


def command(
    directory: Path, *arguments: str, configfile: Path | None = SMOKE, **config: object
) -> list[str]:
    """Command line of a run in `directory`; wheels come from the project's downloads/."""
    settings = {"results": "results", "downloads": str(ROOT / "downloads"), **config}
    words = [sys.executable, "-m", "snakemake", *arguments]
    words += [] if "--profile" in arguments else ["--cores", "2"]
    words += ["--snakefile", str(ROOT / "Snakefile"), "--directory", str(directory)]
    words += ["--configfile", str(configfile)] if configfile else []
    return [*words, "--config", *(f"{key}={value}" for key, value in settings.items())]


def environment() -> dict[str, str]:
    """The caller's environment with the library first on its path."""
    path = filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH")])
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path)}


def snakemake(
    directory: Path,
    *arguments: str,
    prefix: Sequence[str] = (),
    extra: Mapping[str, str] | None = None,
    **options: object,
) -> subprocess.CompletedProcess[str]:
    """Run Snakemake to its end. `prefix` is a command that runs it, `extra` joins the
    environment."""
    words, env = [*prefix, *command(directory, *arguments, **options)], environment()
    env |= dict(extra or {})
    return subprocess.run(
        words, capture_output=True, text=True, env=env, cwd=directory, timeout=900
    )


def complaint(run: subprocess.CompletedProcess[str]) -> str:
    """The only line that complains."""
    assert run.returncode != 0, run.stderr
    (line,) = [line for line in run.stderr.splitlines() if "error: " in line]
    assert "Traceback" not in run.stderr
    return line


@contextmanager
def at_a_halt(process: int) -> Iterator[None]:
    """A process stands still for as long as the block runs."""
    os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process, signal.SIGCONT)


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


def tells_the_end(lines: Sequence[str]) -> bool:
    """Whether two lines are the last ones of a run of one job. What is said of jobs comes out of a
    thread, so the last words may overtake it."""
    done, last = sorted(lines, key=lambda line: line.startswith("Done"))
    return "1 of 1 jobs done" in done and last.startswith("Done: 1 jobs in 0 min")
