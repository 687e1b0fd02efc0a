"""What a target would take, before anything runs: jobs, hours, disk and wall-clock time.

    python -m trimllm_paper plan all --configfile config/paper.yaml --parallel 8 --price 2.5

Jobs are those that Snakemake would run now. Seconds are those of the same kind of job that ran
before (`results/benchmarks`), or else of `trimllm_paper.demand`: imports, loading and saving with
hashes, scans, training, what GPUs pass to each other, evaluation. Jobs that several artifacts share
are counted in each of them, and once in the last line.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from trimllm.base.errors import UserError
from trimllm_paper import demand, gpu_plan, gpus, resources
from trimllm_paper.commands import asked
from trimllm_paper.config import load
from trimllm_paper.recipe import Place, place_of

ARTIFACTS = tuple(f"table{number}" for number in range(1, 10))
UNSTORED = (None, "scan", "evaluate", "measure", "teach")
"""Tasks that leave no checkpoint."""
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


def jobs_of(summary: str) -> set[Job]:
    """The pending jobs of `snakemake --summary`."""
    jobs: dict[Job, set[str]] = defaultdict(set)
    for row in csv.DictReader(summary.splitlines(), delimiter="\t"):
        rule, file = row["rule"], row["output_file"]
        if "pending" not in (row["plan"] or ""):
            continue
        try:
            place = place_of(file)
            jobs[Job(rule, replace(place, kind="", task=""))].add(place.task)
        except UserError:
            if resources.task_of(rule) is None:  # such rules make all their files at once, but one
                jobs[Job(rule, file=file if rule == "fetch_wheel" else "")] = set()
    return {replace(job, tasks=tuple(sorted(tasks))) for job, tasks in jobs.items()}


class Estimate:
    """Seconds and bytes of jobs under a configuration."""

    def __init__(self, config: Any, **how: Any) -> None:
        """`how` is what `demand.spent` is told of GPUs: `assumed`, `kind`."""
        self.config, self.guessed, self.how = config, 0, how
        self.gpu = demand.uses_gpu(config)
        self.measured = measured_seconds(Path(config.results) / "benchmarks")
        self.owner = {task: name for name, one in config.tested.items() for task in one.tests}

    def seconds(self, job: Job) -> float:
        """Seconds of one job."""
        task, place = resources.task_of(job.rule), job.place
        if task is None or place is None:
            return PREPARING if job.rule.startswith(("prepare", "fetch")) else demand.START
        rule = "evaluate" if task == "evaluate" else job.rule.removesuffix("_kept")
        if known := self.measured.get((rule, place.model)):
            return known
        self.guessed += 1
        model, recipe = resources.model_of(self.config, place.model), place.recipe
        dropped = recipe.dropped / model.units if recipe and task != "measure" else 0.0
        tested = self.config.tested.get(self.owner.get(job.tasks[0], place.domain))
        return demand.seconds(
            task,
            model,
            self.config,
            ratio=resources.ratio_of(self.config, recipe.name if recipe else None),
            settle=resources.settling_of(self.config, recipe.name if recipe else None),
            kept=1 - dropped,
            expected=tested and tested.expected,
            prepared=resources.trained_documents(self.config.results, place.domain),
            tests=len(job.tasks),
            compressor=recipe and recipe.compressor,
            **self.how,
        )

    def units(self, job: Job) -> int:
        """Cores or GPUs that a job takes."""
        task, place, processes = resources.task_of(job.rule), job.place, 1
        if place and task in demand.TRAINING:
            told = {"model": place.model, "name": place.recipe and place.recipe.name}
            processes = resources.processes(task, self.config, told)
        cores = (os.cpu_count() or 1) if task == "measure" else self.config.compute.threads
        return processes * (1 if self.gpu else cores)

    def hours(self, jobs: set[Job]) -> float:
        """Hours of cores or GPUs."""
        return sum(self.seconds(job) * self.units(job) for job in jobs) / 3600

    def bytes(self, job: Job) -> float:
        """Bytes of the checkpoint that a job writes."""
        task, place = resources.task_of(job.rule), job.place
        if place is None or place.recipe is None or task in UNSTORED:
            return 0.0
        model = self.config.models[place.model]
        size = demand.stored_bytes(model) * (1 - place.recipe.dropped / model.units)
        # What comes from the hub lies in its cache besides.
        return 2 * size if task == "fetch" and hasattr(model.source, "hub") else size

    def line(self, name: str, jobs: set[Job], parallel: int) -> tuple[str, ...]:
        """Artifact, jobs, hours of cores or GPUs, wall-clock hours and peak of the disk."""
        chains: dict[Any, float] = defaultdict(float)
        total = 3600 * self.hours(jobs)
        for job in jobs:
            place = job.place
            if place and place.recipe and resources.task_of(job.rule) == "trim":
                chains[replace(place, recipe=None), place.recipe.name] += self.seconds(job)
        wall = max(total / parallel, *chains.values())
        kept = sum(self.bytes(job) for job in jobs if job.rule in KEPT)
        # An epoch's weights go when the next epoch and its evaluation are done.
        passing = sorted((self.bytes(job) for job in jobs if job.rule not in KEPT), reverse=True)
        shown = f"{wall / 3600:,.1f} h" if wall >= 7200 else f"{wall / 60:.0f} min"
        disk = (kept + sum(passing[: 2 * parallel])) / 1e9
        return name, str(len(jobs)), in_words(total / 3600), shown, f"{disk:,.1f}"


def in_words(hours: float) -> str:
    """Hours, with decimals where they are few."""
    return f"{hours:.2f}" if hours < 10 else f"{hours:,.0f}"


def sensitivity(config: Any, jobs: set[Job]) -> list[str]:
    """How the GPU-hours of jobs move with each thing that they rest on, in lines."""
    name, kind = gpus.kind_of(config)
    found = demand.ASSUMED

    def hours(changes: Mapping[str, float], other: gpus.Kind = kind) -> str:
        assumed = replace(found, **changes)
        return in_words(Estimate(config, assumed=assumed, kind=other).hours(jobs))

    rows = [("share of the 16-bit peak", "compute", "{:.0%}", (0.3, 0.4, 0.5))]
    rows += [("share of the memory's bandwidth", "memory", "{:.0%}", (0.5, 0.75, 0.9))]
    rows += [("share of the link between GPUs", "link", "{:.0%}", (0.3, 0.6, 0.9))]
    rows += [("disk and hashes, GB/s", "disk", "{:.1e}", (2e8, 8e8, 2e9))]
    rows += [("seconds until a process works", "start", "{:.0f}", (10, 25, 60))]
    rows += [("seconds to start a block", "launch", "{:.1e}", (3e-4, 7e-4, 1.4e-3))]
    links = {"PCIe 4": gpus.PCIE4, "NVLink 3": gpus.NVLINK3, "NVLink 4": gpus.NVLINK4}
    lines = [
        f"Assumed: {name}, {kind.rate / 1e12:.0f} TFLOP/s, {kind.memory / 1e12:.1f} TB/s, "
        f"{kind.link / 1e9:.0f} GB/s to the others. GPU-hours of the last line with another value "
        "in its place:"
    ]
    for label, field, form, values in rows:
        cells = (f"{form.format(value)}: {hours({field: value})}" for value in values)
        lines.append(f"  {label:32} {'   '.join(cells)}")
    cells = (f"{link}: {hours({}, replace(kind, link=rate))}" for link, rate in links.items())
    return [*lines, f"  {'link between GPUs':32} {'   '.join(cells)}"]


def measured_seconds(folder: Path) -> dict[tuple[str, str], float]:
    """(rule, model) -> mean seconds of the jobs that ran, from Snakemake's benchmark files."""
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    for path in folder.rglob("*.tsv"):
        rule, model = path.relative_to(folder).parts[:2]
        rows = csv.DictReader(path.read_text(encoding="utf-8").splitlines(), delimiter="\t")
        found[rule, model.removesuffix(".tsv")] += [float(row["s"]) for row in rows]
    return {key: fmean(values) for key, values in found.items() if values}


def summary_of(target: str, configfile: Path | None, changes: list[str]) -> str:
    """Snakemake's list of a target's files and what would become of them."""
    command = asked.snakemake(target, configfile, changes, "--summary", "--cores", "1")
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode:
        lines = run.stderr.splitlines() or ["Snakemake failed"]
        last = ([line for line in lines if "error" in line.lower()] or lines)[-1]
        raise UserError(last.removeprefix("error: "))
    return run.stdout


def run(
    targets: list[str],
    configfile: Path | None,
    config: list[str],
    parallel: int | None,
    price: float | None,
) -> int:
    """Print the plan; the last line on stdout is one JSON object.

    Args:
        price: of an hour of a GPU (or core), in whatever money.
    """
    raw = asked.configuration(configfile, config)
    estimate = Estimate(load(raw, [configfile or asked.DEFAULT]))
    gpu = estimate.gpu
    parallel = parallel or (4 if gpu else 2)
    names = [*ARTIFACTS, *targets] if targets in (["tables"], ["all"]) else targets
    hours = "GPU-hours" if gpu else "core-hours"
    rows: list[tuple[str, ...]]
    rows = [("artifact", "jobs", hours, f"wall clock ({parallel} at once)", "disk peak (GB)")]
    rows[0] += ("price",) if price is not None else ()
    for name in names:
        jobs = jobs_of(summary_of(name, configfile, config))
        cost = () if price is None else (f"{price * estimate.hours(jobs):,.0f}",)
        rows.append((*estimate.line(name, jobs, parallel), *cost))
    first, *widths = (max(map(len, column)) for column in zip(*rows, strict=True))
    for name, *cells in rows:
        print("  ".join([name.ljust(first), *map(str.rjust, cells, widths)]))
    kind = "the model in trimllm_paper.demand" if estimate.guessed else "earlier runs"
    print(f"Jobs that tables share are run once: the last line is all of them. Seconds by {kind}.")
    if gpu and estimate.guessed:
        print("\n".join(["", *sensitivity(estimate.config, jobs)]))
    if gpu:
        fits = gpu_plan.text(estimate.config)
        print(f"\nMemory of a job on each GPU, and the fewest that do:\n{fits}\n")
    keys = ("artifact", "jobs", "hours", "wall_clock", "disk_gb", "price")
    print(json.dumps([dict(zip(keys, row, strict=False)) for row in rows[1:]]))
    return 0
