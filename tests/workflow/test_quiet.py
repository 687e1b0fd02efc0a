"""What a run shows: little; all else is in the logs, and a failed job's last lines."""

from __future__ import annotations

import io
import logging
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from runs import environment, snakemake, tells_the_end
from snakemake_interface_logger_plugins.common import LogEvent

from snakemake_logger_plugin_trimllm import LogHandler
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


@pytest.mark.parametrize("jobs, shown", [(3, 3), (184, 184), (3771, 179)])
@pytest.mark.parametrize("submitted", [False, True])
def test_a_log_file_has_no_more_than_200_lines(
    monkeypatch: pytest.MonkeyPatch, jobs: int, shown: int, submitted: bool
) -> None:
    """The default's Table 2 has 184 jobs, all of the paper's configuration 3,771."""
    lines = shown_of(io.StringIO(), monkeypatch, jobs, submitted)
    starts = [line for line in lines if "train number" in line]
    assert len(starts) == shown and len(lines) <= 200 - 4  # what is said before and after
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
    assert len(lines) < 30 and any(line.startswith("Stopped after 0 jobs") for line in lines)
