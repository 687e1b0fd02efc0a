"""Seconds and bytes that jobs take: of earlier runs where there are any, else of a model.

Seconds are those of the same kind of job that ran before (`results/benchmarks`), or else of
`trimllm_paper.duration`.
"""

from __future__ import annotations

import csv
import os
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path
from statistics import fmean
from typing import Any

from trimllm.base.names import STATE_EVERY
from trimllm_paper import demand, duration, gpus, resources
from trimllm_paper.recipe import Place

UNSTORED = (None, "scan", "evaluate", "measure")
"""Tasks that leave neither a checkpoint nor what a teacher says."""
KEPT = ("settle_kept", "full_ft", "sparse_ft", "fetch_model")
"""Rules whose checkpoints stay."""
PREPARING = 15.0
"""Seconds for a wheel or a domain."""


@dataclass(frozen=True)
class Job:
    """A job that would run: its rule, the place of its results, and the tasks that it evaluates."""

    rule: str
    place: Place | None = None
    file: str = ""
    tasks: tuple[str, ...] = ()


class Estimate:
    """Seconds and bytes of jobs under a configuration."""

    def __init__(self, config: Any, **how: Any) -> None:
        """`how` is what `duration.spent` is told of GPUs: `assumed`, `kind`."""
        self.config, self.guessed, self.how = config, 0, how
        self.needs = resources.Needs(config)
        self.gpu = gpus.uses_gpu(config)
        self.measured = measured_seconds(Path(config.results) / "benchmarks")
        self.owner = {task: name for name, one in config.tested.items() for task in one.tests}

    def seconds(self, job: Job) -> float:
        """Seconds of one job."""
        task, place = resources.task_of(job.rule), job.place
        if task is None or place is None:
            return PREPARING if job.rule.startswith(("prepare", "fetch")) else duration.START
        rule = "evaluate" if task == "evaluate" else job.rule.removesuffix("_kept")
        if known := self.measured.get((rule, place.model)):
            return known
        self.guessed += 1
        need, recipe = self._need(job), place.recipe
        dropped = recipe.dropped / need.model.units if recipe and task != "measure" else 0.0
        tested = self.config.tested.get(self.owner.get(job.tasks[0], place.domain))
        return duration.seconds(
            task,
            need.model,
            self.config,
            ratio=need.entry.ratio,
            settle=need.entry.settle,
            way=need.shared,
            kept=1 - dropped,
            expected=tested and tested.expected,
            prepared=resources.trained_documents(self.config.results, place.domain),
            tests=len(job.tasks),
            compressor=recipe and recipe.compressor,
            **self.how,
        )

    def _need(self, job: Job) -> resources.Need:
        """What such jobs on a model take."""
        task, place = resources.task_of(job.rule), job.place
        assert task and place
        return self.needs.of(task, place.model, place.recipe and place.recipe.name)

    def units(self, job: Job) -> int:
        """Cores or GPUs that a job takes."""
        task, place, processes = resources.task_of(job.rule), job.place, 1
        if place and task in demand.TRAINING:
            processes = self._need(job).shared.count
        cores = (os.cpu_count() or 1) if task == "measure" else self.config.compute.threads
        return processes * (1 if self.gpu else cores)

    def hours(self, jobs: Collection[Job]) -> float:
        """Hours of cores or GPUs."""
        return sum(self.seconds(job) * self.units(job) for job in jobs) / 3600

    def by_model(self, jobs: Collection[Job]) -> dict[str, float]:
        """Hours of cores or GPUs by the label of a model, for jobs that have one."""
        found: dict[str, set[Job]] = defaultdict(set)
        for job in jobs:
            if name := job.place and job.place.model:
                models = self.config.models
                found[models[name].label if name in models else name].add(job)
        return {label: self.hours(own) for label, own in sorted(found.items())}

    def longest(self, waits: Mapping[Job, Collection[Job]]) -> float:
        """Seconds of the longest path through jobs, each of which waits for others."""
        ends: dict[Job, float] = {}
        for job in TopologicalSorter(waits).static_order():
            ends[job] = self.seconds(job) + max((ends[one] for one in waits[job]), default=0.0)
        return max(ends.values(), default=0.0)

    def fewest(self, jobs: Collection[Job]) -> int:
        """GPUs without which one of the jobs does not run. (With fewer cores it does.)"""
        return max(map(self.units, jobs), default=1) if self.gpu else 1

    def bytes(self, job: Job) -> float:
        """Bytes of the checkpoint that a job leaves, or of what a teacher says."""
        task, place = resources.task_of(job.rule), job.place
        if place is None or task in UNSTORED:
            return 0.0
        if task == "teach":
            return demand.said(self.config.models[place.model], self.config)
        if place.recipe is None:
            return 0.0
        model, entry = self.config.models[place.model], self._need(job).entry
        kept = 1 - place.recipe.dropped / model.units
        left, size = demand.left(model, kept), demand.stored_bytes(model, kept)
        if task == "trim" and entry.state == "float32":  # what is trained, inside of the blocks
            share = demand.share_trained(task, self.config, entry.ratio)
            size += share * (left - demand.left(model, 0)) * (demand.WEIGHT - size / left)
        # What comes from the hub lies in its cache besides.
        return 2 * size if task == "fetch" and hasattr(model.source, "hub") else size

    def scratch(self, job: Job) -> float:
        """Bytes that lie beside a job's results while it is at work: the model that a compressor
        has made; or the state of a long training, the one before it until it is whole (weights and
        moments of what is trained), and the weights as they were best."""
        task, place = resources.task_of(job.rule), job.place
        if task not in ("full_ft", "sparse_ft", "settle", "compress") or place is None:
            return 0.0
        model, ratio = self.config.models[place.model], self._need(job).entry.ratio
        if task == "compress":
            return demand.stored_bytes(model)
        if self.seconds(job) < STATE_EVERY:
            return 0.0
        moments = demand.STATE[self.config.finetune.optimizer] - demand.GRADIENT
        trained = model.parameters * demand.share_trained(task, self.config, ratio)
        return trained * (2 * (demand.WEIGHT + moments) + demand.WEIGHT)

    def disk(self, jobs: Collection[Job], parallel: int) -> str:
        """GB that the disk holds at most: the largest of what passes and of scratch, as many as
        jobs run at once."""
        kept = sum(self.bytes(job) for job in jobs if job.rule in KEPT)
        # An epoch's weights go when the next epoch and its evaluation are done.
        passing = sorted((self.bytes(job) for job in jobs if job.rule not in KEPT), reverse=True)
        beside = sorted(map(self.scratch, jobs), reverse=True)
        return f"{(kept + sum(passing[: 2 * parallel]) + sum(beside[:parallel])) / 1e9:,.1f}"

    def line(
        self, name: str, waits: Mapping[Job, Collection[Job]], parallel: int
    ) -> tuple[str, ...]:
        """Artifact, jobs, hours of cores or GPUs, wall-clock hours, and GB on the disk at most.

        Args:
            waits: for each job, those that it waits for.
            parallel: cores or GPUs at once; as many GPUs as a job takes, where that is more.
        """
        jobs = waits.keys()
        total, parallel = 3600 * self.hours(jobs), max(parallel, self.fewest(jobs))
        wall = max(total / parallel, self.longest(waits))
        shown = f"{wall / 3600:,.1f} h" if wall >= 7200 else f"{wall / 60:.0f} min"
        return name, str(len(jobs)), in_words(total / 3600), shown, self.disk(jobs, parallel)


def in_words(hours: float) -> str:
    """Hours, with decimals where they are few."""
    return f"{hours:.2f}" if hours < 10 else f"{hours:,.0f}"


def measured_seconds(folder: Path) -> dict[tuple[str, str], float]:
    """(rule, model) -> mean seconds of the jobs that ran, from Snakemake's benchmark files."""
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    for path in folder.rglob("*.tsv"):
        rule, model = path.relative_to(folder).parts[:2]
        rows = csv.DictReader(path.read_text(encoding="utf-8").splitlines(), delimiter="\t")
        found[rule, model.removesuffix(".tsv")] += [float(row["s"]) for row in rows]
    return {key: fmean(values) for key, values in found.items() if values}
