"""What a run has to know where it is not alone: jobs of earlier runs, jobs on other machines.

A run that was killed does not take its jobs with it: on a cluster they live on in the queue, on one
machine a killed Snakemake leaves its children. A new run must not write what they write.
"""

from __future__ import annotations

import importlib
import os
import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from trimllm_paper import gpus
from trimllm_paper.config.load import COMMAND_LINE, ConfigError
from trimllm_paper.integrity import locks

ASKED = {
    "nodes": "--nodes={}",
    "gpu": "--gpus={}",
    "threads": "--cpus-per-task={}",
    "mem_mb": "--mem={}",
    "runtime": "--time={}",
    "slurm_partition": "--partition={}",
    "slurm_account": "--account={}",
}
"""What a job reserves -> how Slurm's submit plugin asks for it."""

UNANSWERED = "Slurm does not answer; its jobs are kept, and it is asked until it does."
ANSWERED = "Slurm answers again."


def at_work(results: str | Path, folder: str | Path = ".") -> list[str]:
    """Jobs at work or waiting, in words: those that hold a lock, and those that Slurm knows."""
    return locks.holders(Path(results, locks.FOLDER)) + queued(folder)


def queued(folder: str | Path) -> list[str]:
    """Slurm jobs of the user that Snakemake submitted from a folder and that have not ended."""
    command = ["squeue", "--me", "--noheader", "--format=%i|%T|%Z|%k"]
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):  # no Slurm here, or one that does not answer
        return []
    rows = [line.split("|", 3) for line in run.stdout.splitlines() if line.count("|") > 2]
    return [
        f"Slurm job {number} ({state.lower()}: {comment})"
        for number, state, where, comment in rows
        # The plugin for Slurm names a job's rule in its comment.
        if number != os.environ.get("SLURM_JOB_ID")
        and comment.startswith("rule_")
        and os.path.realpath(where) == os.path.realpath(folder)
    ]


def unfit_for_cluster(compute: Any, config_args: Sequence[str] | None) -> str | None:
    """What may stand in a local run's configuration and not in that of one that submits its jobs.

    Args:
        compute: section of the configuration.
        config_args: the words after `--config`. Snakemake writes them into the command line of
            every job between single quotes, or as Python would where they hold one themselves,
            which a shell reads differently: it would run what stands there as `$(...)`.
    """
    unknown = "the machine that submits says nothing of those that compute; say "
    if compute.device == "auto":
        problem = f"{unknown}cpu or cuda"
        return str(ConfigError("configuration", ["compute", "device"], "auto", problem))
    if compute.device == "cuda" and compute.gpu is None and not isinstance(compute.processes, int):
        problem = f"{unknown}which GPUs they have ({', '.join(gpus.KINDS)}), or how many processes"
        return str(ConfigError("configuration", ["compute", "gpu"], None, problem))
    for word in config_args or ():
        if repr(word) != f"'{word}'":
            problem = "has a quote, a backslash or a control character; write it to a config file"
            key, _, value = word.partition("=")
            return str(ConfigError(COMMAND_LINE, [key], value, problem))
    return None


def refused_by_slurm(jobs: Iterable[tuple[str, Mapping[str, Any]]]) -> str | None:
    """Why Slurm would refuse a job, or let it wait for ever; None where it takes all.

    Slurm itself is asked (`sbatch --test-only` submits nothing), once for each kind of request.
    Without this the first refusal comes after hours of other jobs, and as a page of words, three
    times. A job over its partition's time limit is not refused by default: it waits for ever.

    Args:
        jobs: rule and resources of each; its threads as one of them.
    """
    asked: dict[tuple[str, ...], str] = {}
    for rule, told in jobs:
        words = tuple(form.format(told[key]) for key, form in ASKED.items() if told.get(key))
        asked.setdefault(words, rule)
    for words, rule in asked.items():
        if problem := _refusal(words):
            return (
                f"Slurm takes no job of {rule} ({' '.join(words)}): {problem}; ask for less "
                f"(--set-resources {rule}:..., compute.processes, compute.threads, "
                "compute.longest_minutes) or name another partition (--default-resources "
                "slurm_partition=...)"
            )
    return None


def keep_unanswered_jobs() -> None:
    """Keep Slurm's plugin from losing its jobs while Slurm does not answer.

    After five questions in vain (half a second, where they are refused) the plugin, as of 2.6 to
    2.8, neither asks for those jobs again nor says that they failed, and the run waits for ever. No
    setting of it ends this. So no answer is told to it as one that knows no job: it asks again.
    That Slurm does not answer, and that it does again, is said once each.

    This replaces a name of the plugin's module, which is none of its interface: a plugin that asks
    by another name would not notice, and `tests/workflow/test_guard.py` fails where one does.
    """
    plugin: Any = importlib.import_module("snakemake_executor_plugin_slurm")
    query, is_silent = plugin.query_job_status, False

    async def query_again(command: str, logger: Any) -> tuple[dict[str, str], float]:
        nonlocal is_silent
        states, seconds = await query(command, logger)
        if is_silent != (states is None):
            is_silent = not is_silent
            logger.warning(UNANSWERED if is_silent else ANSWERED)
        return (states or {}, seconds or 0.0)

    plugin.query_job_status = query_again


def _refusal(words: Sequence[str]) -> str | None:
    """What Slurm says against a request."""
    command = ["sbatch", "--test-only", *words, "--wrap=true"]
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=120)
    except subprocess.TimeoutExpired:
        return "it has not answered for two minutes"
    if run.returncode:
        last = (run.stderr.strip().splitlines() or ["no reason given"])[-1]
        return last.removeprefix("allocation failure: ").removeprefix("sbatch: error: ")
    told = dict(word[2:].split("=", 1) for word in words)
    most, wanted = _longest_minutes(told.get("partition")), int(told.get("time", 0))
    if most is not None and wanted > most:
        return f"its partition ends jobs after {most} minutes"
    return None


def _longest_minutes(partition: str | None) -> int | None:
    """Time limit of a partition, or of the default one; None where there is none."""
    command = ["sinfo", "--noheader", "--format=%P|%l"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60)
    limits = dict(line.split("|", 1) for line in run.stdout.split() if "|" in line)
    name = partition or next((name for name in limits if name.endswith("*")), "")
    limit = limits.get(name) or limits.get(f"{name}*") or ""
    # [days-]hours:minutes:seconds, or minutes:seconds; anything else is no limit
    found = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):\d+", limit)
    if found is None:
        return None
    days, hours, minutes = (int(part or 0) for part in found.groups())
    return 60 * (24 * days + hours) + minutes
