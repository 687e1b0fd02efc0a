"""What a target would take, before anything runs: jobs, hours, disk and wall-clock time.

    python -m trimllm_paper plan all --configfile config/paper.yaml --parallel 8 --price 2.5

Jobs are those that Snakemake would run now. Seconds are those of the same kind of job that ran
before (`results/benchmarks`), or else of `trimllm_paper.duration`: imports, loading and saving with
hashes, scans, training, what GPUs pass to each other, evaluation. Jobs that several artifacts share
are counted in each of them, and once in the last line.
"""

from __future__ import annotations

import csv
import inspect
import json
import subprocess
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from trimllm.base.errors import UserError
from trimllm_paper import driver, duration, gpu_plan, gpus, resources
from trimllm_paper.commands import asked
from trimllm_paper.config import load
from trimllm_paper.estimate import Estimate, Job, in_words
from trimllm_paper.jobs import Jobs
from trimllm_paper.recipe import Place, place_of

ARTIFACTS = tuple(f"table{number}" for number in range(1, 10))
OF_CHECKPOINTS = ("manifest", "training", "epoch", "compression")
"""Kinds of files that one job makes together."""
KINDS = {"trim_epoch": "epoch", "settle": "settled", "drop_at_once": "at_once", "teach": "teacher"}
KINDS |= {"compress": "compression", "evaluate": "evaluation", "measure": "throughput"}
KINDS |= {name: name for name in ("scan", "full_ft", "sparse_ft")}
"""Start of a rule's name -> kind of its jobs (`jobs.Jobs`), of those that wait for one another."""


def jobs_of(summary: str) -> set[Job]:
    """The pending jobs of `snakemake --summary`."""
    jobs: dict[Job, set[str]] = defaultdict(set)
    for row in csv.DictReader(summary.splitlines(), delimiter="\t"):
        rule, file = row["rule"], row["output_file"]
        if "pending" not in (row["plan"] or ""):
            continue
        try:
            place = place_of(file)
            jobs[Job(rule, made_at(place))].add(place.task)
        except UserError:
            if resources.task_of(rule) is None:  # such rules make all their files at once, but one
                jobs[Job(rule, file=Path(file).stem if rule == "render_table" else "")] = set()
    return {replace(job, tasks=tuple(sorted(tasks))) for job, tasks in jobs.items()}


def made_at(place: Place) -> Place:
    """The place that all files of a job share."""
    kind = "" if place.kind in OF_CHECKPOINTS else place.kind
    return replace(place, kind=kind, task="")


def waits(config: Any, jobs: set[Job]) -> dict[Job, set[Job]]:
    """For each job, those of the others that make what it reads."""
    kinds, owner = Jobs(config), Estimate(config).owner
    at = {replace(job.place, results=""): job for job in jobs if job.place}
    found: dict[Job, set[Job]] = {}
    for job in jobs:
        places = (replace(made_at(place), results="") for place in _read(job, kinds, owner))
        found[job] = {at[place] for place in places if place in at} - {job}
    return found


def _read(job: Job, kinds: Jobs, owner: Mapping[str, str]) -> Iterator[Place]:
    """Places of what a job reads of others."""
    kind = next((kind for start, kind in KINDS.items() if job.rule.startswith(start)), None)
    if kind is None or (place := job.place) is None:
        return
    told = {key: getattr(place, key) for key in ("model", "domain", "hardware")}
    told["tested"] = owner.get(next(iter(job.tasks), ""), place.domain)
    if recipe := place.recipe:
        told |= {"recipe": str(recipe), "dense": str(recipe.dense)}
        told |= {"compressor": recipe.compressor, "name": recipe.name, "by": recipe.name}
        told |= {"drop": recipe.drop}
    asked_for = inspect.signature(getattr(kinds, kind)).parameters
    for file in kinds.of(kind, **{key: told[key] for key in asked_for}).inputs:
        with suppress(UserError):  # documents, weights beside their record
            yield place_of(file)


def sensitivity(config: Any, jobs: Collection[Job]) -> list[str]:
    """How the GPU-hours of jobs move with each thing that they rest on, in lines."""
    name, kind = gpus.kind_of(config)
    found = duration.ASSUMED

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


def summary_of(target: str, configfiles: list[Path], changes: list[str]) -> str:
    """Snakemake's list of a target's files and what would become of them."""
    command = asked.snakemake(target, configfiles, changes, "--summary", "--cores", "1")
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode:
        lines = run.stderr.splitlines() or ["Snakemake failed"]
        last = ([line for line in lines if "error" in line.lower()] or lines)[-1]
        raise UserError(last.removeprefix("error: "))
    return run.stdout


def run(
    targets: list[str],
    configfiles: list[Path],
    config: list[str],
    parallel: int | None,
    price: float | None,
) -> int:
    """Print the plan; the last line on stdout is one JSON object.

    Args:
        price: of an hour of a GPU (or core), in whatever money.
    """
    raw = asked.configuration(configfiles, config)
    estimate = Estimate(load(raw, configfiles or [asked.DEFAULT]))
    gpu = estimate.gpu
    parallel = parallel or (4 if gpu else 2)
    names = [*ARTIFACTS, *targets] if targets in (["tables"], ["all"]) else targets
    hours = "GPU-hours" if gpu else "core-hours"
    rows: list[tuple[str, ...]]
    rows = [("artifact", "jobs", hours, f"wall clock ({parallel} at once)", "disk, at most (GB)")]
    rows[0] += ("price",) if price is not None else ()
    for name in names:
        jobs = jobs_of(summary_of(name, configfiles, config))
        cost = () if price is None else (f"{price * estimate.hours(jobs):,.0f}",)
        rows.append((*estimate.line(name, waits(estimate.config, jobs), parallel), *cost))
    first, *widths = (max(map(len, column)) for column in zip(*rows, strict=True))
    for name, *cells in rows:
        print("  ".join([name.ljust(first), *map(str.rjust, cells, widths)]))
    kind = "the model in trimllm_paper.duration" if estimate.guessed else "earlier runs"
    print(f"Jobs that tables share are run once: the last line is all of them. Seconds by {kind}.")
    models = {label: in_words(own) for label, own in estimate.by_model(jobs).items()}
    if models:
        own = ", ".join(f"{label} {own}" for label, own in models.items())
        print(f"Of its {hours}: {own}.")
    if (fewest := estimate.fewest(jobs)) > parallel:
        print(f"One of its jobs takes {fewest} GPUs: its wall clock is that of so many.")
    print("Disk: a bound from above, as if all that run at once were the largest.")
    if gpu and estimate.guessed:
        print("\n".join(["", *sensitivity(estimate.config, jobs)]))
    if gpu:
        fits = gpu_plan.text(estimate.config)
        print(f"\nMemory of a job on each GPU, and the fewest that do:\n{fits}\n")
        if problem := driver.unusable():  # jobs may run elsewhere
            print(f"Not on this machine as it is: {problem}\n")
    keys = ("artifact", "jobs", "hours", "wall_clock", "disk_gb", "price")
    last = {**dict(zip(keys, rows[-1], strict=False)), "models": models}
    print(json.dumps([*(dict(zip(keys, row, strict=False)) for row in rows[1:-1]), last]))
    return 0
