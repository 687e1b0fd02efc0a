"""What a run must know that submits its jobs to a cluster."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from typing import Any

from trimllm.base.errors import UserError


def prepare(compute: Any, config_args: Iterable[str], executor: str) -> None:
    """Raise `UserError` for what a run that submits its jobs may not have in its configuration.

    Args:
        compute: section of the configuration.
        config_args: the words after `--config`. Snakemake writes each into the command line of
            every job in single quotes, but one that holds a quote as Python would, in which a
            shell would run `$(...)`.
    """
    here = "this machine submits jobs and does not run them"
    if compute.device == "auto":
        raise UserError(f"compute.device = auto: {here}; name cpu or cuda")
    if compute.device == "cuda" and compute.gpu is None and not isinstance(compute.processes, int):
        raise UserError(f"compute.gpu: {here}; name the nodes' GPUs, or compute.processes")
    for word in config_args:
        if repr(word) != f"'{word}'":
            raise UserError(f"--config {word}: a quote or backslash; write it to a file")
    if executor == "slurm":
        keep_unanswered_jobs()


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
