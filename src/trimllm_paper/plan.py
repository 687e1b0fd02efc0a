"""What a run costs, and why it cannot start: the jobs of one dry run, and their resources."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from trimllm.base import kernels
from trimllm.base.errors import UserError
from trimllm.base.machine import memory_bytes
from trimllm_paper import gpus, invocation
from trimllm_paper.config.load import MISSING
from trimllm_paper.resources import GIB, MIB, SLOW_START, TRAINING, Resources, task_of
from trimllm_paper.resources import stored_bytes as stored

PLAN = "TRIMLLM_PLAN"
"""Environment variable: a file to which the logger of a dry run writes a JSON line for each job."""
STAY = ("fetch_model", "full_ft", "sparse_ft", "settle_kept")
"""Rules whose checkpoints stay."""
SAFE = 0.75
"""Share of a cluster's longest time that a job may be expected to take."""

Refusal = tuple[list[Any], Any, str]
"""Key of the configuration, its value, the problem."""
Work = list[tuple[str, Mapping[str, str]]]
"""Task and wildcards of jobs."""


class Job(NamedTuple):
    """A job that would run."""

    rule: str
    wildcards: Mapping[str, str]


class Pace:
    """Time left of a run, by the seconds that its jobs are expected to take."""

    seconds: dict[int, float] = {}  # of each job of this process's run, by its number

    @classmethod
    def left(cls, finished: Collection[int], spent: float) -> float | None:
        """Seconds that remain after `spent` seconds; None before a job has finished."""
        whole = sum(cls.seconds.values())
        done = sum(cls.seconds.get(job, 0.0) for job in finished)
        return spent * (whole - done) / done if done else None


def pending(
    targets: Sequence[str], configfiles: Sequence[Path], changes: Sequence[str]
) -> list[Job]:
    """Jobs that Snakemake would run for targets now, each once.

    Raises:
        UserError: Snakemake refuses; its last line.
    """
    command = invocation.snakemake(targets, configfiles, changes, "--dry-run", "--cores", "1")
    with tempfile.NamedTemporaryFile("r", encoding="utf-8") as jobs:
        variables = os.environ | {PLAN: jobs.name}
        run = subprocess.run(command, capture_output=True, text=True, env=variables)
        if run.returncode:
            lines = f"{run.stderr}\n{run.stdout}".splitlines()
            reasons = [line for line in lines if line.startswith("error: ")]
            last = (reasons or [line for line in lines if line.strip()])[-1]
            raise UserError(last.removeprefix("error: "))
        return [Job(**json.loads(line)) for line in jobs]


class Plan:
    """Jobs under a configuration: hours, wall-clock time, disk."""

    def __init__(self, jobs: Iterable[Job], config: Any) -> None:
        self.config, self.resources = config, Resources(config)
        self.jobs = [(task_of(job.rule), job) for job in jobs]
        self.work = [(task, job.wildcards) for task, job in self.jobs if task]
        # `measure` is given the whole machine; a plan counts one core or GPU.
        threads = 1 if self.resources.gpu else config.compute.threads
        self.seconds = [self.resources.seconds(*one) for one in self.work]
        self.units = [self.resources.split(*one).processes * threads for one in self.work]

    def hours(self) -> float:
        """Core-hours or GPU-hours."""
        return sum(self.hours_by("task").values())

    def hours_by(self, key: str) -> dict[str, float]:
        """The same by model ("model") or by task ("task")."""
        hours: dict[str, float] = defaultdict(float)
        for (task, wildcards), s, n in zip(self.work, self.seconds, self.units, strict=True):
            hours[task if key == "task" else wildcards[key]] += s * n / 3600
        return dict(hours)

    def wall_seconds(self, parallel: int) -> float:
        """Seconds of `parallel` cores or GPUs at once: no less than the longest chain of epochs,
        with what comes before it and one evaluation."""
        chains: dict[tuple[str, ...], float] = defaultdict(float)
        longest: dict[str, float] = defaultdict(float)
        for (task, wildcards), seconds in zip(self.work, self.seconds, strict=True):
            longest[task] = max(longest[task], seconds)
            if task == "trim":
                chains[tuple(wildcards[key] for key in ("model", "domain", "name"))] += seconds
        before = sum(longest[task] for task in ("fetch", "full_ft", "teach", "settle", "evaluate"))
        if self.resources.gpu:
            parallel = max(parallel, *self.units, 1)
        return max(self.hours() * 3600 / parallel, max(chains.values(), default=0.0) + before)

    def disk_bytes(self, parallel: int) -> float:
        """Bytes of checkpoints that stay, and of the largest that pass while jobs run."""
        stay, passing = 0.0, 0.0
        for task, job in self.jobs:
            if task in (*TRAINING, "fetch", "compress"):
                size = stored(self.config.models[job.wildcards["model"]])
                stay += size if job.rule in STAY else 0.0
                passing = max(passing, 2 * size if task in TRAINING else size)
        return stay + 2 * parallel * passing


def refusal(jobs: Iterable[Job], config: Any, here: bool) -> Refusal | None:
    """Why jobs cannot run: the first problem, or None.

    Args:
        here: jobs run on this machine, whose memory and GPUs must do; else on a cluster.
    """
    resources = Resources(config)
    work = [(task, job.wildcards) for job in jobs if (task := task_of(job.rule))]
    problems = _machine_problems(work, resources) if here else _cluster_problems(work, resources)
    return next(problems, None) or next(_memory_problems(work, resources, here), None)


def _machine_problems(work: Work, resources: Resources) -> Iterator[Refusal]:
    """What this machine lacks: a GPU that torch can use, kernels."""
    config = resources.config
    if not (work and resources.gpu):
        return
    key: list[Any] = ["compute", "device"]
    if not (gpus.here() or gpus.gpus_present()):
        yield key, config.compute.device, "this machine has no GPU (nvidia-smi names none)"
    recipes = [f"{w.get('recipe', '')}+{w.get('compressor', '')}" for _, w in work]
    if any("_int4" in one for one in recipes) and (lacking := kernels.four_bit_lacks("cuda")):
        problem = f"int4 weights need {lacking} on a GPU; install it or leave them out"
        yield ["compress", "methods"], config.compress.methods, problem


def _cluster_problems(work: Work, resources: Resources) -> Iterator[Refusal]:
    """Jobs longer than the partition allows; measurements whose machine has no name."""
    config, limit = resources.config, resources.config.compute.longest_minutes
    for task, wildcards in work:
        minutes = SLOW_START + resources.seconds(task, wildcards) / 60
        domain = wildcards.get("domain")
        is_counted = domain is None or resources.counts(domain).train is not None
        if limit and is_counted and minutes > SAFE * limit:
            problem = (
                f"{task} of {wildcards['model']} on {domain} is expected to take {minutes:.0f} "
                f"minutes, more than {SAFE:.0%} of these; use more processes, fewer documents or a "
                "longer partition"
            )
            yield ["compute", "longest_minutes"], limit, problem
    for key in ("hardware", "threads"):
        measured = any(task == "measure" for task, _ in work)
        if measured and getattr(config.throughput, key) is None:
            problem = "name the machine that measures: this one only submits"
            yield ["throughput", key], MISSING, problem


def _memory_problems(work: Work, resources: Resources, here: bool) -> Iterator[Refusal]:
    """Jobs that fit neither the machine's memory nor its GPUs."""
    compute, models = resources.config.compute, resources.config.models
    cards, have = gpus.here() if here else (), memory_bytes()
    gib = min((gib for _, gib in cards), default=resources.kind.gib)
    for task, wildcards in work:
        name, need = wildcards["model"], resources.memory(task, wildcards)
        processes, job = resources.split(task, wildcards).processes, f"{task} of {name}"
        if here and need.host > have and not (task == "measure" and resources.gpu):
            problem = (
                f"{job} needs about {need.host / MIB:,.0f} MiB of memory, this machine has "
                f"{have / MIB:,.0f} MiB; choose a target without it, or run where there is more"
            )
            if name in models:
                yield ["models", name, "parameters"], models[name].parameters, problem
            else:
                yield ["throughput", "shapes"], resources.config.throughput.shapes, problem
        key: list[Any] = ["compute", "processes"]
        if need.gpu and cards and processes > len(cards):
            problem = f"{job} is shared by {processes} GPUs, this machine has {len(cards)}"
            yield key, compute.processes, problem
        if need.gpu > gib * GIB:
            problem = (
                f"{job} takes about {need.gpu / GIB:.0f} GiB on each GPU, which have {gib:.0f}; "
                "`make plan` shows what fits (processes, offload, weights_on)"
            )
            yield key, compute.processes, problem
