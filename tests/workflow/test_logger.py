"""What a run prints: a line a job, how far it is at least every two minutes, what failed."""

import io
import logging
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from snakemake_interface_logger_plugins.common import LogEvent

import snakemake_logger_plugin_trimllm as plugin

Say = Callable[..., list[str]]


@pytest.fixture
def say(monkeypatch: pytest.MonkeyPatch) -> Say:
    """Give the plugin a record; returns all lines so far, without the time of day."""
    stream = io.StringIO()
    monkeypatch.setattr(plugin.LogHandler, "stream", stream)
    monkeypatch.setattr(plugin, "LOOK", 0.05)
    monkeypatch.setattr(plugin, "SECONDS", {1: 60.0, 2: 600.0})
    handler = plugin.LogHandler(SimpleNamespace(stdout=False, dryrun=False, verbose=False), None)
    handler.started -= 60

    def emit(event: LogEvent | None, message: str = "", **fields: object) -> list[str]:
        record = {"msg": message, "event": event, "levelno": logging.INFO, "levelname": "INFO"}
        handler.emit(logging.makeLogRecord(record | fields))
        return [line[9:] if line[2:3] == ":" else line for line in stream.getvalue().splitlines()]

    return emit


def start(say: Say, job: int, **fields: object) -> list[str]:
    return say(LogEvent.JOB_INFO, jobid=job, rule_name="train", rule_msg=f"train {job}", **fields)


def test_a_line_a_job_and_the_time_left(say: Say) -> None:
    say(LogEvent.RUN_INFO, stats={"total": 2})
    assert start(say, 1) == ["train 1"]
    say(LogEvent.JOB_INFO, jobid=9, rule_name="all", rule_msg=None)  # names others
    say(None, "Select jobs to execute...")
    say(LogEvent.JOB_FINISHED, job_id=1)
    # A minute for a job of one of eleven minutes: ten are left, more or less.
    lines = say(LogEvent.PROGRESS, done=1, total=2)
    assert lines[1:] == ["1 of 2 jobs done, 8 to 16 min left at this speed"]
    say(None, "a warning", levelno=logging.WARNING)
    assert say(None, "Nothing to be done (all files present).")[2:] == [
        "a warning",
        "Nothing to be done (all files present).",
    ]


def test_time_left_falls_in_a_long_job(say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    real = time.monotonic
    start(say, 1)
    monkeypatch.setattr(time, "monotonic", lambda: real() + 60)
    say(LogEvent.JOB_FINISHED, job_id=1)
    start(say, 2)
    monkeypatch.setattr(time, "monotonic", lambda: real() + 360)
    # 6 of 11 minutes of work are done, in 7 minutes.
    lines = say(LogEvent.PROGRESS, done=1, total=2)
    assert lines[-1] == "1 of 2 jobs done, 5 to 10 min left at this speed"


def test_a_silent_run_says_what_is_running(say: Say, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugin, "SILENT", 0.0)
    start(say, 1)
    end = time.monotonic() + 60
    while len(lines := say(None)) < 2:
        assert time.monotonic() < end
        time.sleep(0.05)
    assert lines[1] == "0 of 0 jobs done, 1 min so far; running: train 1"


def test_a_failed_job_shows_the_end_of_its_log(say: Say, tmp_path: Path) -> None:
    """Unless the job has printed why."""
    log = tmp_path / "log"
    log.write_text("".join(f"line {number}\n" for number in range(50)))
    start(say, 1)
    failed = {"jobid": 1, "rule_name": "train", "log": [f"{log} (check log file(s))"]}
    lines = say(LogEvent.JOB_ERROR, **failed)[1:]
    assert lines[:2] == ["failed: train 1", f"  log: {log}"]
    assert lines[2:-2] == [f"    | line {number}" for number in range(35, 50)]
    assert "Killed, perhaps for lack of memory" in lines[-2]
    assert lines[-1] == "Run the same command again to continue."
    log.write_text("line\nerror: what is wrong\n")
    start(say, 1)
    assert say(LogEvent.JOB_ERROR, **failed)[-3:-1] == ["failed: train 1", f"  log: {log}"]


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("Error: Directory cannot be locked. Please make sure", "`snakemake --unlock` and the"),
        ("Traceback (most recent):\n  File 'x'\nKeyError: 'a'", "error: KeyError: 'a' (run"),
        ("Cannot make a.\nOSError: [Errno 30] R: 'a'", "error: OSError: [Errno 30] R: 'a' (run"),
        ("Write-protected output files for rule a:\n    affected files:\n  b", "error: b may"),
        ("MissingInputException in rule a:\nmissing b", "in rule a:\nmissing b"),
    ],
)
def test_errors_of_snakemake_are_one_line(message: str, line: str) -> None:
    shown = plugin.one_line(message)
    assert line in shown and ("\n" not in shown or shown == message)
