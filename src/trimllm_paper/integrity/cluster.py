"""What a run must know where it is not alone: jobs of earlier runs, jobs on other machines."""

from __future__ import annotations

import importlib
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trimllm_paper import gpus
from trimllm_paper.config.load import COMMAND_LINE, ConfigError
from trimllm_paper.integrity import locks


def at_work(results: str | Path, folder: str | Path = ".") -> list[str]:
    """Jobs of an earlier run that hold a lock or wait in Slurm's queue: a run that was killed does
    not take its jobs with it."""
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
        if number != os.environ.get("SLURM_JOB_ID")
        and comment.startswith("rule_")  # the plugin's comment on each of its jobs
        and os.path.realpath(where) == os.path.realpath(folder)
    ]


def unfit_for_cluster(compute: Any, config_args: Sequence[str] | None) -> str | None:
    """What a run that submits its jobs may not have in its configuration.

    Args:
        compute: section of the configuration.
        config_args: the words after `--config`. Snakemake writes each into the command line of
            every job in single quotes, but one that holds a quote as Python would, in which a
            shell would run `$(...)`.
    """
    unknown = "this machine submits jobs and does not run them; name "
    key: list[Any] = ["compute", "device"]
    if compute.device == "auto":
        return str(ConfigError("configuration", key, "auto", f"{unknown}cpu or cuda"))
    if compute.device == "cuda" and compute.gpu is None and not isinstance(compute.processes, int):
        problem = f"{unknown}the nodes' GPUs ({', '.join(gpus.KINDS)}), or the number of processes"
        return str(ConfigError("configuration", ["compute", "gpu"], None, problem))
    for word in config_args or ():
        if repr(word) != f"'{word}'":
            problem = "has a quote, a backslash or a control character; write it to a config file"
            name, _, value = word.partition("=")
            return str(ConfigError(COMMAND_LINE, [name], value, problem))
    return None


def keep_unanswered_jobs() -> None:
    """Keep Slurm's plugin (2.6 to 2.8) from forgetting its jobs while the controller is away.

    After a status check without an answer the plugin drops its jobs, and the run never ends. More
    attempts (`slurm-status-attempts`) do not help: without Slurm's accounting, all attempts of a
    check ask `sacct` in vain. An empty answer keeps the jobs for the next check.
    """
    plugin: Any = importlib.import_module("snakemake_executor_plugin_slurm")
    query = plugin.query_job_status

    async def answer(command: str, logger: Any) -> tuple[dict[str, str], float]:
        states, seconds = await query(command, logger)
        return states or {}, seconds or 0.0

    plugin.query_job_status = answer
