"""What a run has to know where it is not alone: jobs of earlier runs, jobs on other machines.

A run that was killed does not take its jobs with it: on a cluster they live on in the queue, on one
machine a killed Snakemake leaves its children. A new run must not write what they write.
"""

from __future__ import annotations

import importlib
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trimllm_paper import gpus
from trimllm_paper.config.errors import ConfigError
from trimllm_paper.config.load import COMMAND_LINE
from trimllm_paper.integrity import locks


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


def keep_unanswered_jobs() -> None:
    """Keep Slurm's plugin (2.6 to 2.8) from forgetting its jobs while the controller is away.

    After a status check without an answer the plugin drops its jobs, and the run never ends. More
    attempts do not help: without Slurm's accounting, all attempts of a check that starts while the
    controller restarts ask `sacct` in vain. An empty answer keeps the jobs for the next check.
    """
    plugin: Any = importlib.import_module("snakemake_executor_plugin_slurm")
    query = plugin.query_job_status

    async def answer(command: str, logger: Any) -> tuple[dict[str, str], float]:
        states, seconds = await query(command, logger)
        return states or {}, seconds or 0.0

    plugin.query_job_status = answer
