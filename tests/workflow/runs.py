"""Runs of the workflow, each in a folder of its own."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from trimllm_paper import forkserver
from trimllm_paper.environment import adapters_of

ROOT = Path(__file__).parents[2]
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["snakemake.cli", "trimllm_paper.jobs"])
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
    """Run Snakemake to its end; output and errors as texts.

    `prefix` is a command that runs it, `extra` joins the environment. Without either it runs in a
    fork of a process that has imported it, and its jobs in forks of one that is there for all runs
    (`forkserver`): imports were half of a dry run's time, and most of a small run's.
    """
    words, env = command(directory, *arguments, **options), environment()
    if prefix or extra:
        words, env = [*prefix, *words], env | dict(extra or {})
        return subprocess.run(
            words, capture_output=True, text=True, env=env, cwd=directory, timeout=900
        )
    with tempfile.TemporaryDirectory() as folder:
        said = [Path(folder, name) for name in ("output", "errors")]
        fork = FORKS.Process(target=_forked, args=(words[3:], env, directory, said, _server()))
        fork.start()
        fork.join(900)
        if fork.exitcode is None:
            fork.kill()
            raise subprocess.TimeoutExpired(words, 900)
        return subprocess.CompletedProcess(words, fork.exitcode, *(p.read_text() for p in said))


@cache
def _server() -> str:
    """Where the server of all runs of this process listens, once it has imported what jobs need."""
    forkserver.start((*forkserver.MODELS, *forkserver.RENDERING), {})
    return os.environ.pop(forkserver.ADDRESS)


def _forked(
    words: list[str], env: dict[str, str], directory: Path, said: list[Path], server: str
) -> None:
    """What `python -m snakemake` does, in a process that has imported it."""
    from snakemake.cli import main

    start_one = forkserver.start

    def start(rooms: Iterable[str], models: Mapping[str, Mapping[str, Any]]) -> None:
        if any(adapters_of(models).values()):  # which ours has not imported
            start_one(rooms, models)
        else:
            os.environ[forkserver.ADDRESS] = server

    forkserver.start, forkserver.imported_by = start, lambda jobs: [*forkserver.MODELS]

    os.chdir(directory)
    os.environ.clear()
    os.environ.update(env)
    for stream, path in enumerate(said, 1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), stream)
    sys.argv[1:] = words
    try:
        main()
    finally:
        atexit._run_exitfuncs()  # multiprocessing leaves these out


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
