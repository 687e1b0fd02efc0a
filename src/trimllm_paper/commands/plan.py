"""What a target would take, before anything runs: jobs, hours, disk and wall-clock time.

    python -m trimllm_paper plan all --configfile config/paper.yaml --parallel 8

Jobs are those that Snakemake would run now. Seconds are those of the same kind of job that ran
before (`results/benchmarks`), or else of `trimllm_paper.resources`. Jobs that several artifacts
share are counted in each of them, and once in the last line.
"""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from trimllm.base.errors import UserError
from trimllm.base.files import read_json
from trimllm.throughput import shapes
from trimllm_paper import gpu_plan, resources
from trimllm_paper.commands import asked
from trimllm_paper.config.load import load
from trimllm_paper.recipe import Paths, Place, place_of, run_folder, variant_name

ARTIFACTS = tuple(f"table{number}" for number in range(1, 10))
KEPT = ("trim_epoch_kept", "full_ft", "sparse_ft", "fetch_model")
"""Rules whose checkpoints stay."""


@dataclass(frozen=True)
class Job:
    """A job that would run: its rule, the place of its results, and the tasks that it evaluates."""

    rule: str
    place: Place | None = None
    file: str = ""
    tasks: tuple[str, ...] = ()


def jobs_of(summary: str) -> set[Job]:
    """The pending jobs of `snakemake --summary`."""
    jobs: dict[Job, set[str]] = defaultdict(set)
    for row in csv.DictReader(io.StringIO(summary), delimiter="\t"):
        rule, file = row["rule"], row["output_file"]
        if "pending" not in (row["plan"] or ""):
            continue
        try:
            place = place_of(file)
        except UserError:
            if resources.task_of(rule) is None:  # such rules make all their files at once, but one
                jobs[Job(rule, file=file if rule == "fetch_wheel" else "")]
            continue
        jobs[Job(rule, replace(place, kind="", task=""))] |= {place.task}
    return {replace(job, tasks=tuple(sorted(tasks))) for job, tasks in jobs.items()}


class Estimate:
    """Seconds and bytes of jobs under a configuration."""

    def __init__(self, config: Any) -> None:
        self.config, self.guessed = config, 0
        self.gpu = resources.uses_gpu(config.compute)
        self.measured = measured_seconds(Path(config.results) / "benchmarks")
        self.owner = {task: name for name, one in config.tested.items() for task in one.tests}
        entries, step = config.recipes, config.main.step
        self.ratios = {
            variant_name(entries, criterion, ratio, step): ratio
            for criterion in config.tables.criteria
            for ratio in config.tables.ratios
        } | {name: entry.ratio for name, entry in entries.items()}

    def seconds(self, job: Job) -> float:
        """Seconds of one job."""
        task, place = resources.task_of(job.rule), job.place
        if place is None or (task is None and not place.hardware):
            return 60.0 if job.rule.startswith(("prepare", "fetch")) else resources.START
        rule = "evaluate" if task == "evaluate" else job.rule.removesuffix("_kept")
        if known := self.measured.get((rule, place.model)):
            return known
        self.guessed += 1
        model = self.config.models.get(place.model)
        if task is None:
            shape = model or shapes.named(place.model)
            return resources.throughput_seconds(shape.parameters, self.config)
        recipe, tested = place.recipe, self.owner.get(next(iter(job.tasks), ""), place.domain)
        return resources.seconds(
            task,
            model,
            self.config,
            ratio=recipe and self.ratios.get(recipe.name),
            kept=1 - (recipe.dropped if recipe else 0) / model.units,
            expected=getattr(self.config.tested.get(tested), "expected", None),
            prepared=training_documents(self.config.results, place.domain),
            tests=len(job.tasks),
            compressor=recipe and recipe.compressor,
        )
