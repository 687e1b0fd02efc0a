"""What a run would take, and why it cannot start: the jobs of one dry run, and their resources."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from trimllm.base import kernels
from trimllm.base.errors import UserError
from trimllm.base.machine import memory_bytes
from trimllm_paper import driver, gpus, invocation
from trimllm_paper.config import MISSING
from trimllm_paper.recipe import Recipe
from trimllm_paper.resources import GIB, MIB, SLOW_START, TRAINING, Resources, task_of
from trimllm_paper.resources import stored_bytes as stored

PLAN = "TRIMLLM_PLAN"
"""Environment variable: a file to which the logger of a dry run writes a JSON line for each job."""
KEPT = ("fetch_model", "full_ft", "sparse_ft", "settle_kept")
"""Rules whose checkpoints stay."""
SAFE = 0.75
"""Share of a cluster's longest time that a job may be expected to take."""

Refusal = tuple[list[Any], Any, str]
"""Key of the configuration, its value, the problem."""


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
    with tempfile.NamedTemporaryFile("r", encoding="utf-8") as lines:
        variables = os.environ | {PLAN: lines.name}
        run = subprocess.run(command, capture_output=True, text=True, env=variables)
        if run.returncode:
            words = [line for line in f"{run.stderr}\n{run.stdout}".splitlines() if line.strip()]
            reasons = [line for line in words if line.startswith("error: ")]
            raise UserError((reasons or words or ["Snakemake failed"])[-1].removeprefix("error: "))
        return [Job(**json.loads(line)) for line in lines]


class Plan:
    """Jobs under a configuration: hours, wall-clock time, disk."""

    def __init__(self, jobs: Iterable[Job], config: Any) -> None:
        self.config, self.resources = config, Resources(config)
        self.jobs = [(task_of(job.rule), job) for job in jobs]
        self.work = [(task, job.wildcards) for task, job in self.jobs if task]
        # `measure` is given the whole machine; a plan counts one core or GPU.
        threads = 1 if self.resources.gpu else config.compute.threads
        self.seconds = [self.resources.seconds(*one) for one in self.work]
        self.units = [self.resources.way(*one).processes * threads for one in self.work]

    def hours(self) -> float:
        """Core-hours or GPU-hours."""
        return sum(s * n for s, n in zip(self.seconds, self.units, strict=True)) / 3600

    def hours_by(self, key: str) -> dict[str, float]:
        """The same by model ("model") or by task ("task")."""
        found: dict[str, float] = defaultdict(float)
        for (task, wildcards), s, n in zip(self.work, self.seconds, self.units, strict=True):
            found[task if key == "task" else wildcards[key]] += s * n / 3600
        return dict(found)

    def wall_seconds(self, parallel: int) -> float:
        """Seconds of `parallel` cores or GPUs at once: no less than the longest chain of epochs,
        with what comes before it and one evaluation."""
        chains: dict[tuple[str, ...], float] = defaultdict(float)
        single: dict[str, float] = defaultdict(float)
        for (task, wildcards), seconds in zip(self.work, self.seconds, strict=True):
            if task == "trim":
                chains[tuple(wildcards[key] for key in ("model", "domain", "name"))] += seconds
            else:
                single[task] = max(single[task], seconds)
        before = sum(single[task] for task in ("fetch", "full_ft", "teach", "settle", "evaluate"))
        parallel = max(parallel, max(self.units, default=1) if self.resources.gpu else 1)
        return max(self.hours() * 3600 / parallel, max(chains.values(), default=0.0) + before)

    def disk_bytes(self, parallel: int) -> float:
        """Bytes of checkpoints that stay, and of the largest that pass while jobs run."""
        kept, passing = 0.0, 0.0
        for task, job in self.jobs:
            if task in (*TRAINING, "fetch", "compress"):
                size = stored(self.config.models[job.wildcards["model"]])
                kept += size if job.rule in KEPT else 0.0
                passing = max(passing, 2 * size if task in TRAINING else size)
        return kept + 2 * parallel * passing


def refusal(jobs: Iterable[Job], config: Any, here: bool) -> Refusal | None:
    """Why jobs cannot run: the first problem, or None.

    Args:
        here: jobs run on this machine, whose memory and GPUs must do; else on a cluster.
    """
    resources = Resources(config)
    work = [(task, job.wildcards) for job in jobs if (task := task_of(job.rule))]
    different = {(task, w["model"], w.get("name")): (task, w) for task, w in work}
    compute, measured = config.compute, any(task == "measure" for task, _ in work)
    problem: str | None = None
    if compute.longest_minutes:
        for task, wildcards in work:
            minutes = SLOW_START + resources.seconds(task, wildcards) / 60
            if minutes > SAFE * compute.longest_minutes and _is_counted(resources, wildcards):
                problem = (
                    f"{task} of {wildcards['model']} on {wildcards.get('domain')} is expected to "
                    f"take {minutes:.0f} minutes, more than {SAFE:.0%} of these; use more "
                    "processes, fewer documents or a longer partition"
                )
                return ["compute", "longest_minutes"], compute.longest_minutes, problem
    problem = driver.unusable() if here and resources.gpu and different else None
    if here and resources.gpu and different and not (gpus.here() or gpus.gpus_present()):
        problem = problem or "this machine has no GPU (nvidia-smi names none)"
    if problem:
        return ["compute", "device"], compute.device, problem
    lacking = here and resources.gpu and kernels.four_bit_lacks("cuda")
    if lacking and any(_compressor(wildcards).endswith("_int4") for _, wildcards in work):
        problem = f"int4 weights need {lacking} on a GPU; install it or leave them out"
        return ["compress", "methods"], config.compress.methods, problem
    if not here and measured:
        for key in ("hardware", "threads"):
            if getattr(config.throughput, key) is None:
                problem = "name the machine that measures: this one only submits"
                return ["throughput", key], MISSING, problem
    for task, wildcards in different.values():
        if problem := _too_large(task, wildcards, resources, here):
            name = wildcards["model"]
            if resources.gpu and task != "measure":
                return ["compute", "processes"], compute.processes, problem
            if name in config.models:
                return ["models", name, "parameters"], config.models[name].parameters, problem
            return ["throughput", "shapes"], config.throughput.shapes, problem
    return None


def _is_counted(resources: Resources, wildcards: Mapping[str, str]) -> bool:
    domain = wildcards.get("domain")
    return domain is None or resources.training_documents(domain) is not None


def _compressor(wildcards: Mapping[str, str]) -> str:
    recipe = wildcards.get("recipe")
    found = wildcards.get("compressor") or (recipe and Recipe.parse(recipe).compressor)
    return found or ""


def _too_large(
    task: str, wildcards: Mapping[str, str], resources: Resources, here: bool
) -> str | None:
    """Why a job does not fit the machine."""
    need, way = resources.memory(task, wildcards), resources.way(task, wildcards)
    name, have = wildcards["model"], memory_bytes()
    host = need.host / 2 if task == "measure" else need.host  # or one model after the other
    if here and host > have and not (task == "measure" and resources.gpu):
        return (
            f"{task} of {name} needs about {host / MIB:,.0f} MiB of memory, this machine has "
            f"{have / MIB:,.0f} MiB; ask for a target that does without, or run where there is more"
        )
    if not need.gpu:
        return None
    there = gpus.here() if here else ()
    if there and way.processes > len(there):
        return f"{task} of {name} is shared by {way.processes} GPUs, this machine has {len(there)}"
    gib = min((gib for _, gib in there), default=resources.kind.gib)
    if need.gpu > gib * GIB:
        return (
            f"{task} of {name} takes about {need.gpu / GIB:.0f} GiB on each GPU, which have "
            f"{gib:.0f}; `make plan` says what fits (processes, offload, weights_on)"
        )
    return None
