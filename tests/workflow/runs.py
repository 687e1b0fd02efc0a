"""Runs of the workflow, each in a folder of its own."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
from wheels import DOWNLOADS

ROOT = Path(__file__).parents[2]
SMOKE = ROOT / "config" / "smoke.yaml"


def _network_cutter() -> list[str]:
    """What to put before a command so that it runs without a network; empty where not allowed."""
    words = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--net"]
    allowed = shutil.which("unshare") and subprocess.run([*words, "true"], capture_output=True)
    return words if allowed and allowed.returncode == 0 else []


CUT = _network_cutter()


def command(
    directory: Path, *arguments: str, configfile: Path | None = SMOKE, **config: object
) -> list[str]:
    """Command line of a run in `directory`."""
    settings = {"results": "results", "downloads": str(DOWNLOADS), **config}
    words = [sys.executable, "-m", "snakemake", *arguments]
    words += [] if "--profile" in arguments else ["--cores", "2"]
    words += ["--snakefile", str(ROOT / "Snakefile"), "--directory", str(directory)]
    words += ["--configfile", str(directory / configfile)] if configfile else []
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
    """Run Snakemake to its end. `prefix`: a command that runs it; `extra`: more environment."""
    words, env = [*prefix, *command(directory, *arguments, **options)], environment()
    env |= dict(extra or {})
    return subprocess.run(
        words, capture_output=True, text=True, env=env, cwd=directory, timeout=900
    )


def made(directory: Path, *targets: str, **options: object) -> str:
    """Output of a run, which must succeed."""
    run = snakemake(directory, *targets, **options)
    assert run.returncode == 0, run.stderr[-4000:]
    return run.stdout + run.stderr


def planned(directory: Path, *targets: str, **options: object) -> dict[str, int]:
    """Rule -> number of jobs of a dry run."""
    return counts(made(directory, "-n", *targets, **options))


def complaint(run: subprocess.CompletedProcess[str]) -> str:
    """The only error line of a run, which must fail."""
    assert run.returncode != 0, run.stderr
    (line,) = [line for line in run.stderr.splitlines() if "error: " in line]
    assert "Traceback" not in run.stderr
    return line


@contextmanager
def beginning(
    directory: Path, *targets: str, extra: Mapping[str, str] | None = None, **options: object
) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """A run in the background and its log; all of its processes are killed at the end."""
    path = directory / "run.log"
    with path.open("w") as stream:
        run = subprocess.Popen(
            command(directory, *targets, **options),
            cwd=directory,
            env=environment() | dict(extra or {}),
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )
    try:
        yield run, path
    finally:
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGKILL)
        run.wait()


def wait_for(condition: Callable[[], object], seconds: float, log: Path) -> None:
    """Wait until `condition()` holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, log.read_text()[-4000:]
        time.sleep(0.05)


def job_of(run: subprocess.Popen[bytes], script: str, log: Path) -> psutil.Process:
    """The process of a run's job that executes a script, once it has begun."""

    def found() -> psutil.Process | None:
        assert run.poll() is None, log.read_text()[-4000:]
        for process in psutil.Process(run.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                program, *words = process.cmdline() or [""]
                if "python" in program and script in " ".join(words):
                    return process
        return None

    wait_for(found, 300, log)
    return found()


def counts(dry_run: str) -> dict[str, int]:
    """Rule -> number of jobs, from a dry run's last table."""
    if "Job stats:" not in dry_run:
        return {}
    rows = dry_run.rsplit("Job stats:", 1)[1].split("total", 1)[0].splitlines()
    pairs = [row.split() for row in rows]
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}
