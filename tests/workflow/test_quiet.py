"""What a run shows: little; all else is in the logs, and a failed job's last lines."""

from __future__ import annotations

import io
import logging
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from runs import ROOT, environment, snakemake, tells_the_end
from snakemake_interface_logger_plugins.common import LogEvent

from snakemake_logger_plugin_trimllm import LogHandler, refusal
from snakemake_logger_plugin_trimllm.live import Live

REPORT = "results/data/sums/report.json"
# Python runs a module of this name first: once the job's words go to its log, something that is not
# Python's own writes there, and the job is killed.
KILLING = """
import os, signal, sys, threading, time
def kill():
    while not os.readlink("/proc/self/fd/2").endswith("sums.log"):
        time.sleep(0.01)
    os.write(2, b"".join(b"noise %d\\n" % number for number in range(500)))
    os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[-1:] != ["-c"] and "prepare_domain" in " ".join(sys.orig_argv):
    threading.Thread(target=kill, daemon=True).start()
"""
# A job's words, those of a library past Python, and of another process.
TALKING = """
import os, subprocess, sys
from pathlib import Path
from trimllm_paper.job import Output
output = sys.stdout = sys.stderr = Output(Path(sys.argv[1]), "trim llama")
print("scan: 3/10 documents, 0:05 left")
os.write(2, b"from a library\\n")
subprocess.run(["sh", "-c", "echo from a process; echo and its errors >&2"])
output.tell("error: what is wrong")
print("last")
"""
# Snakemake's stand-in: what the plugin makes of a run in which everybody has something to say.
TROUBLED = """
import logging, os, sys
from pathlib import Path
from types import SimpleNamespace
from snakemake_interface_logger_plugins.common import LogEvent
from snakemake_logger_plugin_trimllm import LogHandler
from trimllm_paper import told

jobs, failing = int(os.environ["JOBS"]), int(os.environ["FAILING"])
handler = LogHandler(SimpleNamespace(stdout=False, dryrun=False, verbose=False), None)

def say(message, level=logging.INFO, **words):
    handler.emit(logging.makeLogRecord({"msg": message, "levelno": level, **words}))

Path("logs").mkdir()
say("", event=LogEvent.RUN_INFO, stats={"total": jobs})
for number in range(jobs):
    words = {"jobid": number, "rule_name": "train", "rule_msg": f"train number {number}"}
    say("", event=LogEvent.JOB_INFO, **words)
    say("a warning of Snakemake's", logging.WARNING)
    sys.stderr.write(told.room_for(f"[train {number}] waiting for another\\n"))
    if number < failing:
        log = Path(f"logs/{number}.log")
        log.write_text("".join(f"noise {line}\\n" for line in range(50)))
        words |= {"log": [str(log)], "rule_msg": None}
        say("", logging.ERROR, event=LogEvent.JOB_ERROR, **words)
        say("MissingOutputException\\nin one more line", logging.ERROR, event=LogEvent.ERROR)
    else:
        say("", event=LogEvent.PROGRESS, done=number + 1, total=jobs)
print("Stopped" if failing else "Done", file=sys.stderr)
handler.close()
sys.exit(bool(failing))
"""


def test_the_terminal_gets_what_it_is_told_and_the_log_everything(tmp_path: Path) -> None:
    log = tmp_path / "log"
    words = [sys.executable, "-c", TALKING, str(log)]
    run = subprocess.run(words, capture_output=True, text=True, env=environment(), check=True)
    assert (run.stdout, run.stderr) == ("", "[trim llama] error: what is wrong\n")
    assert sorted(log.read_text().splitlines()) == sorted(
        [
            *("scan: 3/10 documents, 0:05 left", "from a library", "from a process"),
            *("and its errors", "error: what is wrong", "last"),
        ]
    )


@pytest.mark.parametrize("jobs, shown", [(3, 3), (184, 46), (3771, 49)])
@pytest.mark.parametrize("submitted", [False, True])
def test_a_log_file_has_no_more_than_200_lines(
    monkeypatch: pytest.MonkeyPatch, jobs: int, shown: int, submitted: bool
) -> None:
    """The default's Table 2 has 184 jobs, all of the paper's configuration 3,771."""
    lines = shown_of(io.StringIO(), monkeypatch, jobs, submitted)
    starts = [line for line in lines if "train number" in line]
    assert len(starts) == shown and len(lines) <= 50 + 11
    assert len([line for line in lines if "jobs done" in line]) == min(jobs, 11)
    assert len([line for line in lines if "submitted" in line]) == 3 * (submitted and jobs == 3)
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    everything: list[str] = []
    monkeypatch.setattr(Live, "say", lambda self, text: everything.append(text))
    shown_of(terminal, monkeypatch, jobs, submitted)
    assert len(everything) == min(jobs, 11) + jobs * (2 if submitted else 1)


def shown_of(
    stream: io.StringIO, monkeypatch: pytest.MonkeyPatch, jobs: int, submitted: bool
) -> list[str]:
    """Lines of a run of so many jobs."""
    monkeypatch.setattr(sys, "stderr", stream)
    handler = LogHandler(SimpleNamespace(stdout=False, dryrun=False, verbose=False), None)

    def say(message: str, **told: object) -> None:
        handler.emit(logging.makeLogRecord({"msg": message, "levelno": logging.INFO, **told}))

    say("", event=LogEvent.RUN_INFO, stats={"total": jobs})
    for number in range(jobs):
        told = {"jobid": number, "rule_name": "train", "rule_msg": f"train number {number}"}
        say("", event=LogEvent.JOB_INFO, **told)
        if submitted:
            say(f"Job {number} has been submitted with SLURM jobid {number}")
        say("", event=LogEvent.PROGRESS, done=number + 1, total=jobs)
    handler.close()
    return stream.getvalue().split("\n")[:-1]


@pytest.mark.parametrize("jobs, failing", [(184, 0), (400, 50)])
def test_all_of_make_table2_has_no_more_than_200_lines(
    tmp_path: Path, jobs: int, failing: int
) -> None:
    """The real recipe, set-up included, whatever a run's jobs, libraries and Snakemake say: the run
    is one of the plugin's, told of more than any has met."""
    tools = tmp_path / ".venv/bin"
    tools.mkdir(parents=True)
    for name, text in (("python", "#!/bin/sh\n"), ("snakemake", f"#!{sys.executable}\n{TROUBLED}")):
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    for name in ("requirements.lock", "requirements-nodeps.lock", "pyproject.toml"):
        (tmp_path / name).touch()
    # Called by another make, as by `make test`, it says no more either.
    told = {"JOBS": str(jobs), "FAILING": str(failing), "MAKELEVEL": "1"}
    table = ROOT / "results/reference/tables/table2.md"
    (tmp_path / "results/tables").mkdir(parents=True)
    shutil.copy(table, tmp_path / "results/tables")
    words = ["make", "--file", ROOT / "Makefile", "table2", f"PYTHON={sys.executable}"]
    run = subprocess.run(
        words,
        cwd=tmp_path,
        env=environment() | told,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert bool(run.returncode) == bool(failing), run.stdout
    lines = run.stdout.splitlines()
    assert len(lines) <= 200, run.stdout
    assert bool(failing) != (table.read_text() in run.stdout)
    failed = [line for line in lines if line.startswith("failed: train number")]
    full, short = failed[:3], failed[3:]
    assert all("log" not in line for line in full)
    assert all(re.search(r"; log: logs/\d+\.log$", line) for line in short)
    assert len([line for line in lines if line.startswith("    | ")]) == 15 * min(3, failing)
    assert len(failed) == min(failing, 19) and ("Stopped" in lines) == bool(failing)
    left = [line for line in lines if "see logs/" in line]
    told_of = [line for line in lines if line.startswith("[train")]
    assert len(told_of) == min(10, jobs), told_of
    assert sum("of what jobs say" in line for line in left) == (jobs > 10)
    assert f"and {jobs - 10} more warnings: see logs/ and .snakemake/log" in left
    assert (f"and {failing - 19} more failures: see logs/ and .snakemake/log" in left) == (
        failing > 19
    )


def test_what_nobody_foresaw_is_one_line_that_says_what_to_do() -> None:
    text = "Traceback (most recent call last):\n  File 'x'\nKeyError: 'a'"
    said = refusal(text)
    assert said.startswith("error: KeyError: 'a' (") and "\n" not in said
    assert "run the same command again" in said and ".snakemake/log" in said
    # What Snakemake has words for stays in them.
    assert refusal("MissingInputException in rule a:\nmissing b") == (
        "MissingInputException in rule a:\nmissing b"
    )


@pytest.mark.slow
def test_a_run_is_a_line_a_job(tmp_path: Path, domain: dict) -> None:
    run = snakemake(tmp_path, REPORT, **domain)
    assert run.returncode == 0, run.stderr
    lines = [line for line in run.stderr.splitlines() if "profile" not in line]
    assert "prepare the documents of sums" in lines[0] and len(lines) == 3 and not run.stdout
    assert tells_the_end(lines[1:]), lines
    again = snakemake(tmp_path, REPORT, **domain)
    assert "Nothing to be done" in again.stderr


@pytest.mark.slow
def test_a_killed_job_shows_the_last_lines_of_its_log(tmp_path: Path, domain: dict) -> None:
    (tmp_path / "killing").mkdir()
    (tmp_path / "killing/sitecustomize.py").write_text(KILLING)
    path = f"{tmp_path / 'killing'}:{environment()['PYTHONPATH']}"
    run = snakemake(tmp_path, REPORT, extra={"PYTHONPATH": path}, **domain)
    assert run.returncode != 0 and "Traceback" not in run.stderr
    lines = [line for line in run.stderr.splitlines() if "profile" not in line]
    at = next(index for index, line in enumerate(lines) if line.startswith("failed: "))
    assert "prepare the documents of sums" in lines[at]
    assert lines[at + 1] == "  log: logs/prepare_domain/sums.log"
    shown = [line.removeprefix("    | ") for line in lines if line.startswith("    | ")]
    assert shown == [f"noise {number}" for number in range(485, 500)]
    assert any(line.startswith("  Its log does not say why it ended; ") for line in lines)
    assert len(lines) < 30 and any(line.startswith("Stopped after 0 jobs") for line in lines)
