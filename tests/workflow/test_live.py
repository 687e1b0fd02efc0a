"""On a terminal a line lives for each job that runs; what stays is what a log file would hold."""

from __future__ import annotations

import io
import logging
import os
import pty
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pyte
import pytest
from runs import command, environment, tells_the_end
from snakemake_interface_logger_plugins.common import LogEvent

from snakemake_logger_plugin_trimllm import LogHandler
from snakemake_logger_plugin_trimllm.live import last_words
from trimllm.base.progress import progress_bar
from trimllm_paper.plan import Pace
from trimllm_paper.told import over_live_lines

COLUMNS, ROWS = 80, 24
REPORT = "results/data/sums/report.json"


class Terminal(io.StringIO):
    """A stream that is a terminal, whose screen can be looked at."""

    def __init__(self) -> None:
        super().__init__()
        self.screen = pyte.Screen(COLUMNS, ROWS)
        self.screen.set_mode(pyte.modes.LNM)  # a line feed returns, as a terminal's driver has it
        self.reader = pyte.Stream(self.screen)

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.reader.feed(text)
        return len(text)

    @property
    def lines(self) -> list[str]:
        return [line.rstrip() for line in self.screen.display if line.strip()]


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    found = Terminal()
    monkeypatch.setattr(sys, "stderr", found)
    # (What the plugin knows as shutil: pytest asks the real one.)
    size = SimpleNamespace(get_terminal_size=lambda: os.terminal_size((COLUMNS, ROWS)))
    monkeypatch.setattr("snakemake_logger_plugin_trimllm.live.shutil", size)
    # Lines are drawn when something happens, and by the test.
    monkeypatch.setattr("snakemake_logger_plugin_trimllm.live.EVERY", 1e6)
    return found


@pytest.fixture
def say(terminal: Terminal) -> Callable[..., LogHandler]:
    handler = LogHandler(SimpleNamespace(stdout=False, dryrun=False, verbose=False), None)

    def tell(event: LogEvent | None, message: str = "", **told: object) -> LogHandler:
        level = {"levelno": logging.INFO, "levelname": "INFO"}
        handler.emit(logging.makeLogRecord({"msg": message, "event": event, **level, **told}))
        return handler

    tell(LogEvent.RUN_INFO, stats={"total": 9})
    return tell


def start(say: Callable[..., LogHandler], job: int, log: Path) -> LogHandler:
    return say(
        LogEvent.JOB_INFO, jobid=job, rule_name="train", rule_msg=f"train {job}", log=[str(log)]
    )


def test_each_job_that_runs_has_a_line_that_says_how_far_it_is(
    terminal: Terminal,
    say: Callable[..., LogHandler],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, second = tmp_path / "1.log", tmp_path / "2.log"
    start(say, 1, first)
    handler = start(say, 2, second)
    with first.open("w") as log, monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", log)
        progress = progress_bar(8, "documents", "epoch 1/2")
        progress.update(3)
        progress.refresh()
        print("what a library says", file=log)
    handler.live._draw()
    *stay, one, two = terminal.lines
    assert [line[9:] for line in stay] == ["train 1", "train 2"]
    assert one.startswith("  train 1: epoch 1/2: 3/8, ") and one.endswith(" left")
    assert two == "  train 2: for 0:00"

    # Where the cursor stands the lines begin: a job's own word stays, and nothing of them is left.
    terminal.write(f"{over_live_lines(terminal)}[train 2] error: no space\n")
    assert [line[9:] for line in terminal.lines[:2]] == ["train 1", "train 2"]
    assert terminal.lines[2:] == ["[train 2] error: no space"]

    say(LogEvent.JOB_FINISHED, job_id=1)
    say(LogEvent.PROGRESS, done=1, total=9)
    assert "train 1: " not in "\n".join(terminal.lines)
    assert terminal.lines[-2:] == ["  train 2: for 0:00", "  1 of 9 jobs done, about 0 min left"]
    handler.started = time.monotonic() - 60
    monkeypatch.setattr(Pace, "seconds", {1: 60.0, 2: 600.0, 3: 6000.0})
    say(LogEvent.PROGRESS, done=1, total=3)
    assert handler.live.whole == "1 of 3 jobs done, about 110 min left"
    say(LogEvent.JOB_ERROR, jobid=2, rule_name="train", log=[str(second)])
    assert terminal.lines[2:] == [
        "[train 2] error: no space",
        *[line for line in terminal.lines if "jobs done" in line],
        "failed: train 2",
        f"  log: {second}"[:COLUMNS],
        *([f"  log: {second}"[COLUMNS:]] if len(f"  log: {second}") > COLUMNS else []),
    ]


def test_many_jobs_and_long_words_leave_room(
    terminal: Terminal, say: Callable[..., LogHandler], tmp_path: Path
) -> None:
    for job in range(40):
        handler = start(say, job, tmp_path / "none")
    handler.live.jobs[0] = ("long " * 40, [tmp_path / "log"], time.time() - 100)
    (tmp_path / "log").write_text("scan:  17%|#6        | 10/60 [00:10<00:50,  1.00 units/s]\n")
    handler.live._draw()
    lived = [line for line in terminal.lines if line.startswith("  ")]
    assert lived[0].endswith("...: scan: 10/60, 00:50 left") and len(lived[0]) < COLUMNS
    assert len(lived) == ROWS // 2 - 2 + 1 and lived[-1] == "  and 30 jobs more"
    handler.close()
    assert not [line for line in terminal.lines if line.startswith("  ")]


def test_a_log_of_an_earlier_run_says_nothing(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("one\rtwo\nscan: 10/60 units, 0:50 left\n")
    assert last_words(log, time.time() - 5) == "two\nscan: 10/60 units, 0:50 left"
    assert not last_words(log, time.time() + 5) and not last_words(tmp_path / "none")


@pytest.mark.slow
def test_a_run_on_a_terminal(tmp_path: Path, domain: dict) -> None:
    """All that a real run writes to its terminal, read by a terminal."""
    outer, inner = pty.openpty()
    run = subprocess.Popen(
        command(tmp_path, REPORT, **domain),
        env=environment() | {"COLUMNS": str(COLUMNS), "LINES": str(ROWS)},
        cwd=tmp_path,
        stdin=inner,
        stdout=inner,
        stderr=inner,
    )
    os.close(inner)
    terminal, lived = Terminal(), set()
    while True:
        try:
            text = os.read(outer, 65536).decode()
        except OSError:  # the last process has closed its end
            break
        terminal.write(text)
        lived |= {line for line in terminal.lines if line.startswith("  ")}
    os.close(outer)
    assert run.wait() == 0, terminal.lines
    assert any(line.startswith("  prepare the documents of sums: ") for line in lived), lived
    # Above them stands, folded, which profile Snakemake found.
    stay = terminal.lines[-3:]
    assert stay[0].endswith(" prepare the documents of sums"), stay
    assert tells_the_end(stay[1:]), stay
