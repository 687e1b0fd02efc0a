"""What a run prints: a line for each job that starts, how far the run is, and what failed.

A plugin on Snakemake's interface for loggers, named by the default profile (`logger: trimllm`). All
else is in the logs of jobs (logs/) and in `.snakemake/log`.
"""

import json
import logging
import os
import re
import sys
import threading
import time
from pathlib import Path
from typing import Any, TextIO

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

from trimllm_paper.plan import PLAN, SECONDS

TAIL = 15  # lines of a failed job's log that are shown
SILENT, LOOK = 100.0, 5.0  # seconds: without a line; between looks at that
SHOWN = ("Nothing to be done", "has been submitted with")  # in Snakemake's messages


class LogHandler(LogHandlerBase):
    """One line for one event, on standard error; a dry run's as Snakemake prints them."""

    writes_to_stream = True
    writes_to_file = has_filter = has_formatter = needs_rulegraph = False

    def __post_init__(self) -> None:
        self.started = self.spoke = time.monotonic()
        self.done = self.total = 0
        self.running: dict[int, tuple[str, float]] = {}  # job's number -> what it does, since when
        self.took: dict[int, float] = {}  # seconds of finished jobs
        self.is_plain = self.common_settings.dryrun or self.common_settings.verbose
        if not self.is_plain:
            threading.Thread(target=self._break_silence, daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record, or not."""
        fields = vars(record)
        if fields.get("event") == LogEvent.JOB_INFO and (plan := os.environ.get(PLAN)):
            job = {"rule": fields["rule_name"], "wildcards": dict(fields["wildcards"])}
            with open(plan, "a", encoding="utf-8") as lines:
                lines.write(json.dumps(job) + "\n")
        self._print(self.format(record) if self.is_plain else self._text(record, fields))

    @property
    def stream(self) -> TextIO:
        """Where a run prints."""
        return sys.stdout if self.common_settings.stdout else sys.stderr

    def _print(self, text: str | None) -> None:
        if text:
            self.spoke = time.monotonic()
            print(text, file=self.stream, flush=True)

    def _break_silence(self) -> None:
        while True:
            time.sleep(LOOK)
            if self.running and time.monotonic() - self.spoke > SILENT:
                jobs = "; ".join([text for text, _ in self.running.values()][:3])
                self._print(f"{self._progress()}; running: {jobs}")

    def _text(self, record: logging.LogRecord, fields: dict[str, Any]) -> str | None:
        event, message = fields.get("event"), record.getMessage().strip()
        if event is None:
            is_shown = record.levelno >= logging.WARNING or any(part in message for part in SHOWN)
            return message if is_shown else None
        if event == LogEvent.RUN_INFO:
            self.total = fields["stats"]["total"]
        elif event == LogEvent.JOB_INFO:
            if text := fields.get("rule_msg"):  # targets that only name others have none
                self.running[fields["jobid"]] = text, time.monotonic()
                return f"{time.strftime('%H:%M:%S')} {text}"
        elif event == LogEvent.JOB_FINISHED:
            if job := self.running.pop(fields["job_id"], None):
                self.took[fields["job_id"]] = time.monotonic() - job[1]
        elif event == LogEvent.PROGRESS:  # a line at each tenth of the jobs
            before = 10 * self.done // max(self.total, 1)
            self.done, self.total = fields["done"], fields["total"]
            return self._progress() if 10 * self.done // max(self.total, 1) != before else None
        elif event == LogEvent.JOB_ERROR:
            return self._failed(fields)
        elif event == LogEvent.ERROR:  # that a job's process failed is shown with its log
            return None if "CalledProcessError" in message else one_line(message)
        elif event == LogEvent.GROUP_ERROR:
            return self.format(record)
        return None

    def _progress(self) -> str:
        now = time.monotonic()
        spent, whole = now - self.started, sum(SECONDS.values())
        done = sum(SECONDS.get(job, 0.0) for job in self.took)
        words = f"{spent / 60:.0f} min so far"
        if 0 < self.done == self.total:
            words = f"in {spent / 60:.0f} min"
        elif done:
            pace = done / sum(self.took.values())  # of finished jobs, assumed of running ones
            for job, (_, since) in [*self.running.items()]:
                done += min(SECONDS.get(job, 0.0), pace * (now - since))
            left = spent * max(0.0, whole - done) / done / 60
            # Other work on the machine, and jobs unlike those that were measured.
            words = f"{0.8 * left:.0f} to {1.5 * left + 1:.0f} min left at this speed"
        return f"{time.strftime('%H:%M:%S')} {self.done} of {self.total} jobs done, {words}"

    def _failed(self, fields: dict[str, Any]) -> str:
        """Which job failed, and the end of its log, unless the job itself has printed its error."""
        # A cluster's account of a job holds its command line: only the first line says what failed.
        why = (fields.get("rule_msg") or "").strip().partition("\n")[0]
        name, _ = self.running.pop(fields["jobid"], (fields["rule_name"], 0.0))
        lines = [f"failed: {name}" + (f" ({why})" if why else "")]
        for log in (Path(log.split(" ", 1)[0]) for log in fields.get("log") or ()):
            lines.append(f"  log: {log}")
            tail = log.read_text(errors="replace").splitlines()[-TAIL:] if log.is_file() else []
            is_explained = bool(tail) and tail[-1].startswith("error: ")
            if why or not is_explained:  # on another machine it printed nothing here
                lines += [f"    | {line[:400]}" for line in tail]
            if not why and not is_explained:
                lines.append("  Killed, perhaps for lack of memory: see `make plan`.")
        return "\n".join([*lines, "Run the same command again to continue."])


def one_line(message: str) -> str:
    """Snakemake's error; one line where the system refused something or a lock is left."""
    lines = [line.strip() for line in message.splitlines() if line.strip(" ^~")] or [""]
    if "cannot be locked" in message:
        return (
            "error: another run uses this folder, or a run was killed; if none is running, run "
            "`snakemake --unlock` and the same command again"
        )
    if "Write-protected output files" in message:  # the last line names one
        return f"error: {lines[-1]} may not be written; make it writable and run again"
    if lines[0].startswith("Traceback") or re.match(r"\w+Error: \[Errno \d+\] ", lines[-1]):
        remedy = "run the same command again; if it fails again, report it with .snakemake/log"
        return f"error: {lines[-1]} ({remedy})"
    return message
