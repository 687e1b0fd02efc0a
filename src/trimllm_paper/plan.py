"""What a run costs, and why it cannot start: the jobs of one dry run, and their resources."""

import json
import os
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from trimllm.base.errors import UserError
from trimllm.base.machine import memory_bytes
from trimllm_paper import gpus, invocation
from trimllm_paper.resources import GIB, MIB, SLOW_START, TRAINING, Resources, stored_bytes, task_of

# Environment variable: a file to which the logger of a dry run writes a JSON line for each job.
PLAN = "TRIMLLM_PLAN"
# Rules whose checkpoints stay.
STAY = ("fetch_model", "full_ft", "full_ft_choices", "sparse_ft", "settle_kept", "compress")
PACKED = {"awq_int4": 0.3, "gptq_int4": 0.3, "llm_int8": 0.55}  # share of the bytes in 16 bits
COPIES = {**dict.fromkeys(TRAINING, 2), "fetch": 1, "compress": 1}  # while a job runs
SAFE = 0.75  # share of a cluster's longest time that a job may be expected to take
SECONDS: dict[int, float] = {}  # expected, of each job of this process's run, by its number


class Job(NamedTuple):
    """A job that would run."""

    rule: str
    wildcards: Mapping[str, str]


def work_of(job: Job) -> tuple[str, dict[str, str]] | None:
    """Task and wildcards of a job; of an evaluation the domain whose tests are answered."""
    task = task_of(job.rule)
    tested = {"domain": job.rule.removeprefix("evaluate_")} if task == "evaluate" else {}
    return (task, {**job.wildcards, **tested}) if task else None


def pending(targets: list[str], configfiles: list[Path], changes: list[str]) -> list[Job]:
    """Jobs that Snakemake would run for targets now; `UserError` where it refuses."""
    command = invocation.snakemake(targets, configfiles, changes, "--dry-run", "--cores", "1")
    with tempfile.NamedTemporaryFile("r", encoding="utf-8") as jobs:
        env = os.environ | {PLAN: jobs.name}
        run = subprocess.run(command, capture_output=True, text=True, env=env)
        if run.returncode:
            lines = f"{run.stderr}\n{run.stdout}".strip().splitlines()
            reasons = [line for line in lines if line.startswith("error: ")]
            raise UserError((reasons or lines)[-1].removeprefix("error: "))
        return [Job(**json.loads(line)) for line in jobs]


class Plan:
    """Jobs under a configuration: hours, wall-clock time, disk."""

    def __init__(self, jobs: Iterable[Job], config: Any) -> None:
        self.config, self.resources, self.jobs = config, Resources(config), list(jobs)
        self.work = [work for job in self.jobs if (work := work_of(job))]
        # `measure` is given the whole machine; a plan counts one core or GPU.
        threads = 1 if self.resources.gpu else config.compute.threads
        self.seconds = [self.resources.seconds(*one) for one in self.work]
        self.units = [self.resources.split(*one).processes * threads for one in self.work]

    def hours_by(self, key: str) -> dict[str, float]:
        """Core-hours or GPU-hours by model ("model") or by task ("task")."""
        hours: dict[str, float] = defaultdict(float)
        for (task, wildcards), s, n in zip(self.work, self.seconds, self.units, strict=True):
            hours[task if key == "task" else wildcards[key]] += s * n / 3600
        return hours

    def wall_seconds(self, parallel: int) -> float:
        """Seconds on `parallel` cores or GPUs; at least the longest chain and what it needs."""
        chains: dict[tuple[str, ...], float] = defaultdict(float)
        longest: dict[str, float] = defaultdict(float)
        for (task, wildcards), seconds in zip(self.work, self.seconds, strict=True):
            longest[task] = max(longest[task], seconds)
            if task == "trim":
                chains[tuple(wildcards[key] for key in ("model", "domain", "name"))] += seconds
        before = sum(longest[task] for task in ("fetch", "full_ft", "teach", "settle", "evaluate"))
        if self.resources.gpu:
            parallel = max(parallel, *self.units, 1)
        hours = sum(self.hours_by("task").values())
        return max(hours * 3600 / parallel, max(chains.values(), default=0.0) + before)

    def disk_bytes(self, parallel: int) -> float:
        """Bytes of checkpoints that stay, and of the largest that pass while jobs run."""
        sizes = {name: stored_bytes(model) for name, model in self.config.models.items()}
        kept = [job.wildcards for job in self.jobs if job.rule in STAY]
        stay = sum(sizes[w["model"]] * PACKED.get(w.get("compressor", ""), 1.0) for w in kept)
        chains = {(w["model"], w["domain"], w["name"]) for task, w in self.work if task == "trim"}
        ratios = {name: one.ratio for name, one in self.resources.chains.items()}
        # A chain keeps its last state, in which trained weights have 32 bits.
        states = sum(sizes[model] * (1 + ratios[name]) for model, _, name in chains)
        passing = (sizes[w["model"]] * COPIES[task] for task, w in self.work if task in COPIES)
        return stay + states + 2 * parallel * max(passing, default=0.0)

    def problems(self, here: bool) -> Iterator[str]:
        """Why jobs cannot run, on this machine (`here`) or a cluster: memory, GPUs, time limit."""
        have, limit = memory_bytes(), self.config.compute.longest_minutes
        cards = gpus.here() if here else ()
        present = (len(cards) or gpus.gpus_present()) if here else 0
        gib = min((gib for _, gib in cards), default=self.resources.kind.gib)
        for (task, wildcards), seconds in zip(self.work, self.seconds, strict=True):
            need = self.resources.memory(task, wildcards)
            count = self.resources.split(task, wildcards).processes
            job, minutes = f"{task} of {wildcards['model']}", SLOW_START + seconds / 60
            if here and need.host > have:
                mib = f"{need.host / MIB:,.0f} MiB of memory, this machine has {have / MIB:,.0f}"
                yield f"{job} needs about {mib} MiB; run a target without it or use another machine"
            if here and need.gpu and count > present:
                yield f"compute.processes: {job} needs {count} GPUs, this machine has {present}"
            if need.gpu > gib * GIB:
                each = f"{need.gpu / GIB:.0f} GiB on each GPU of {gib:.0f} GiB"
                yield f"compute.processes: {job} takes about {each}; see `make plan` for what fits"
            if not here and limit and minutes > SAFE * limit:
                more = f"{minutes:.0f} minutes, more than {SAFE:.0%} of {limit}"
                yield f"compute.longest_minutes: {job} is expected to take {more}"
