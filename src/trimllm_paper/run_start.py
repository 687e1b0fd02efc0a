"""At the start of a run: refuse what must fail, note expected times, handle Ctrl-C and SIGTERM."""

import importlib
import signal
import sys
from collections.abc import Iterable
from types import FrameType
from typing import Any

import psutil

from trimllm.base.errors import UserError
from trimllm_paper import shapes
from trimllm_paper.plan import SECONDS, Job, Plan
from trimllm_paper.resources import task_of

STOPPING = (
    "Stopping: no further job starts, running jobs finish first; Ctrl-C or SIGTERM again ends them "
    "now"
)


def prepare(workflow: Any, config: Any) -> None:
    """Raise `UserError` for a run that must fail; note the expected seconds of its jobs."""
    if not workflow.local_exec:
        check_cluster(config.compute, workflow.config_settings.config_args or ())
        if workflow.executor_plugin.name == "slurm":
            keep_unanswered_jobs()
    needed = [job for job in workflow.dag.needrun_jobs() if task_of(job.rule.name)]
    plan = Plan([Job(job.rule.name, job.wildcards_dict) for job in needed], config)
    shapes.refuse_untimed(plan.jobs)
    for problem in plan.problems(here=workflow.local_exec):
        raise UserError(problem)
    SECONDS.update((job.jobid, s) for job, s in zip(needed, plan.seconds, strict=True))
    wait_once(workflow.local_exec)


def check_cluster(compute: Any, config_args: Iterable[str]) -> None:
    """Raise `UserError` for what a run that submits its jobs may not have in its configuration.

    Snakemake writes each word after `--config` into the command line of every job in single quotes,
    but one that holds a quote as Python would, in which a shell would run `$(...)`.
    """
    here = "this machine submits jobs and does not run them"
    if compute.device == "auto":
        raise UserError(f"compute.device = auto: {here}; name cpu or cuda")
    if compute.device == "cuda" and compute.gpu is None and not isinstance(compute.processes, int):
        raise UserError(f"compute.gpu: {here}; name the nodes' GPUs, or compute.processes")
    for word in config_args:
        if repr(word) != f"'{word}'":
            raise UserError(f"--config {word}: a quote or backslash; write it to a file")


def keep_unanswered_jobs() -> None:
    """Keep Slurm's plugin (2.6 to 2.8) from forgetting its jobs while the controller is away: after
    a status check without an answer it drops its jobs, and the run never ends; more attempts
    (`slurm-status-attempts`) do not help. An empty answer keeps the jobs for the next check."""
    plugin: Any = importlib.import_module("snakemake_executor_plugin_slurm")
    query = plugin.query_job_status

    async def answer(command: str, logger: Any) -> tuple[dict[str, str], float]:
        states, seconds = await query(command, logger)
        return states or {}, seconds or 0.0

    plugin.query_job_status = answer


def wait_once(local: bool) -> None:
    """After the first SIGTERM or Ctrl-C running jobs end by themselves, the second ends them: child
    processes (`local`), else jobs of a cluster, which Snakemake's plugin cancels."""
    graceful: Any = signal.getsignal(signal.SIGTERM)  # of Snakemake: starts no further job
    received: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        received.append(number)
        if len(received) == 1:
            print(STOPPING, file=sys.stderr, flush=True)
            graceful(number, frame)
        elif not local:
            raise KeyboardInterrupt
        else:
            for process in psutil.Process().children(recursive=True):
                process.terminate()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handle)
