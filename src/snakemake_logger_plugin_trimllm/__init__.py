"""What a run shows: a line for each job that starts, how far all of them are, and what went wrong.

A plugin on Snakemake's public interface for loggers, which the default profile names
(`logger: trimllm`). All else, of Snakemake and of the libraries that jobs use, is in the logs of
jobs and in `.snakemake/log`. Dry runs look as Snakemake's own do.
"""

from __future__ import annotations

import json
import logging
import math
import os
import re
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any, TextIO

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

from snakemake_logger_plugin_trimllm.live import Live, last_words
from trimllm_paper import told as told_by_jobs
from trimllm_paper.plan import PLAN, Pace

TAIL = 15
"""Lines of a failed job's log that are shown."""
KILLED = (
    "Its log does not say why it ended; where nothing above does, it was killed, perhaps for want "
    "of memory: run the same command again, `make plan` says what it takes."
)
KEPT, SUBMITTED = "Nothing to be done", "has been submitted with"
"""Words of plain messages that concern who waits for the run."""

# Where there is no terminal, a log file that holds no more than 200 lines, `make` and its table
# included.
FEW = 50
"""Jobs that are told of; of more every second, third, ..."""
TAILS = 3
"""Failed jobs that are shown with the last lines of their logs; of more only which they are."""
ROOM = {"failures": TAILS * (TAIL + 3) + 16, "warnings": 10, "errors": 10}
"""Lines of what goes wrong; what has no room is counted."""


class LogHandler(LogHandlerBase):
    """One line for one thing that happens, on standard error."""

    def __post_init__(self) -> None:
        self.started = time.monotonic()
        self.shown = -1
        self.jobs = self.told = self.failed = 0
        self.lines: Counter[str] = Counter()
        self.left_out: Counter[str] = Counter()
        self.messages: dict[int, str] = {}
        self.ended: set[int] = set()
        self.live = Live(self.stream) if self.stream.isatty() and not self._is_plain else None
        self.counted = None if self.live or self._is_plain else told_by_jobs.begin()

    def emit(self, record: logging.LogRecord) -> None:
        """Show a record, or not."""
        if getattr(record, "event", None) == LogEvent.JOB_INFO and (plan := os.environ.get(PLAN)):
            fields = vars(record)
            job = {"rule": fields["rule_name"], "wildcards": dict(fields["wildcards"])}
            with open(plan, "a", encoding="utf-8") as lines:
                lines.write(json.dumps(job) + "\n")
        text = self._text(record)
        if self.live:
            self._follow(self.live, vars(record))
        if text and self.live:
            self.live.say(text)
        elif text:
            self.stream.write(f"{text}\n")
            self.stream.flush()

    def close(self) -> None:
        if self.live:
            self.live.close()
        for what, many in self.left_out.items():
            self.stream.write(f"and {many} more {what}: see logs/ and .snakemake/log\n")
        self.left_out.clear()
        if self.counted:
            told_by_jobs.end(self.counted)
        super().close()

    def _follow(self, live: Live, fields: dict[str, Any]) -> None:
        """A line for each job that is at work."""
        event = fields.get("event")
        if event == LogEvent.JOB_INFO and fields.get("rule_msg"):
            live.starts(fields["jobid"], self.messages[fields["jobid"]], logs_of(fields))
        elif event == LogEvent.JOB_FINISHED:
            live.ends(fields["job_id"])
        elif event == LogEvent.JOB_ERROR:
            live.ends(fields["jobid"])
        elif event == LogEvent.PROGRESS:
            live.whole = self._far(fields["done"], fields["total"])

    @property
    def _is_plain(self) -> bool:
        """Whether Snakemake's own words are wanted."""
        return self.common_settings.dryrun or self.common_settings.verbose

    @property
    def stream(self) -> TextIO:
        """Where a run's words go."""
        return sys.stdout if self.common_settings.stdout else sys.stderr

    def _text(self, record: logging.LogRecord) -> str | None:
        if self._is_plain:
            return self.format(record)
        event, fields = getattr(record, "event", None), vars(record)
        if event == LogEvent.JOB_INFO:
            return self._starting(fields)
        if event == LogEvent.JOB_FINISHED:
            self.ended.add(fields["job_id"])
        if event == LogEvent.PROGRESS:
            return self._progress(fields["done"], fields["total"])
        if event == LogEvent.JOB_ERROR:
            return self._within("failures", self._failed(fields))
        if event == LogEvent.ERROR:
            # That a job's process failed is told with its log.
            message = record.getMessage()
            is_told = "CalledProcessError" in message
            return None if is_told else self._within("errors", refusal(message))
        if event == LogEvent.RUN_INFO:
            self.jobs = fields["stats"]["total"]
        if event == LogEvent.GROUP_ERROR:
            return self._within("failures", self.format(record))
        if event is not None:
            return None
        message = record.getMessage().strip()
        if record.levelno >= logging.WARNING:
            return self._within("warnings", message)
        # Where jobs are submitted, each has two lines.
        concerns = KEPT in message or (SUBMITTED in message and self._every(2) == 1)
        return message if concerns else None

    def _within(self, what: str, text: str) -> str | None:
        """A text as far as there is room for what is of its kind."""
        lines = text.split("\n")
        room = len(lines) if self.stream.isatty() else max(ROOM[what] - self.lines[what], 0)
        self.lines[what] += min(len(lines), room)
        if room:
            return "\n".join(lines[:room])
        self.left_out[what] += 1
        return None

    def _every(self, lines: int = 1) -> int:
        """Which job in turn is told of, by so many lines each: each one, every second, ..."""
        return 1 if self.stream.isatty() else max(1, math.ceil(lines * self.jobs / FEW))

    def _starting(self, fields: dict[str, Any]) -> str | None:
        """What a job does, in its rule's words; nothing of targets that only name others."""
        message = fields.get("rule_msg")
        self.messages[fields["jobid"]] = message or fields["rule_name"]
        self.told += 1
        is_shown = message and self.told % self._every() == 0
        return f"{time.strftime('%H:%M:%S')} {message}" if is_shown else None

    def _progress(self, done: int, total: int) -> str | None:
        """How far the run is and what is left, at every tenth."""
        tenth = 10 * done // max(total, 1)
        if tenth == self.shown or not done:
            return None
        self.shown = tenth
        return f"{time.strftime('%H:%M:%S')} {self._far(done, total)}"

    def _far(self, done: int, total: int) -> str:
        spent = time.monotonic() - self.started
        left = Pace.left(self.ended, spent) or spent / max(done, 1) * (total - done)
        words = f"about {left / 60:.0f} min left" if total > done else f"in {spent / 60:.0f} min"
        return f"{done} of {total} jobs done, {words}"

    def _failed(self, fields: dict[str, Any]) -> str:
        """Which job failed, and the last lines of its log, or the one that says why. In a log file
        that has some of these already, one line."""
        what = self.messages.get(fields["jobid"], fields["rule_name"])
        # Slurm's account of a job holds the command line of it: the first line says what happened.
        why = str(fields.get("rule_msg") or "").strip().partition("\n")[0]
        lines = [f"failed: {what}" + (f" ({why})" if why else "")]
        self.failed += 1
        if self.failed > TAILS and not self.stream.isatty():
            return "; ".join([*lines, *(f"log: {log}" for log in logs_of(fields))])
        for log in logs_of(fields):
            tail = last_lines(log)
            # What the user can mend was told by the job itself, unless it ran on another machine.
            traced = any(line.lstrip().startswith('File "') for line in tail)
            here = "external_jobid" not in (fields.get("aux") or {})
            spoke = bool(tail) and tail[-1].startswith("error: ")
            said = here and spoke and not traced
            lines += [f"  log: {log}"] + [f"    | {line}" for line in ([] if said else tail)]
            lines += [f"  {KILLED}"] if tail and not (spoke or why) else []
        return "\n".join(lines)

    @property
    def writes_to_stream(self) -> bool:
        return True

    @property
    def writes_to_file(self) -> bool:
        return False

    @property
    def has_filter(self) -> bool:
        return False

    @property
    def has_formatter(self) -> bool:
        return False

    @property
    def needs_rulegraph(self) -> bool:
        return False


def refusal(message: str) -> str:
    """An error in Snakemake's words; one line where the system refused something (`OSError`)."""
    if "Write-protected output files" in message:
        path = message.partition("affected files:")[2].split()[0]
        return f"error: {path} may not be written; make its folder writable and run again"
    first, *lines = [line.strip() for line in message.splitlines() if line.strip()] or [""]
    if not lines or not re.match(r"\w+Error: \[Errno \d+\] ", lines[-1]):
        return unforeseen(lines[-1]) if lines and first.startswith("Traceback") else message
    # Of an error that Snakemake itself did not expect the traceback; it is in its log.
    said = lines[-1:] if first.startswith("Traceback") else lines
    if "/.cache" in lines[-1]:
        said.append("(say in XDG_CACHE_HOME where Snakemake may write)")
    return f"error: {' '.join(said)}"


def unforeseen(error: str) -> str:
    """What to do about an error of Snakemake or of what the rules ask; its traceback is logged."""
    return (
        f"error: {error} (not foreseen: run the same command again; if it ends so again, report it "
        "with the newest file of .snakemake/log)"
    )


def logs_of(fields: dict[str, Any]) -> list[Path]:
    """The logs that a record of a job names, each perhaps with a remark of Snakemake's."""
    return [Path(name.split(" ", 1)[0]) for name in fields.get("log") or ()]


def last_lines(log: Path) -> list[str]:
    """The last lines of a log."""
    words = last_words(log)
    return [line[:400] for line in words.split("\n")][-TAIL:] if words else []
