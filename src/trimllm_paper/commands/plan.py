"""What a target would take, before anything runs: jobs, hours, disk and wall-clock time.

    python -m trimllm_paper plan all --configfile config/paper.yaml --parallel 8

Jobs are those that Snakemake would run now. Seconds are those of the same kind of job that ran
before (`results/benchmarks`), or else of `trimllm_paper.demand`. Jobs that several artifacts
share are counted in each of them, and once in the last line.
"""

from __future__ import annotations

import csv
import json
import subprocess
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

from trimllm.base.errors import UserError
from trimllm_paper import gpu_plan, resources
from trimllm_paper.commands import asked
from trimllm_paper.config import load
from trimllm_paper.estimate import Estimate, Job
from trimllm_paper.recipe import place_of

ARTIFACTS = tuple(f"table{number}" for number in range(1, 10))


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
    targets: list[str], configfile: Path | None, config: list[str], parallel: int | None
) -> int:
    """Print the plan; the last line on stdout is one JSON object."""
    raw = asked.configuration(configfile, config)
    estimate = Estimate(load(raw, [configfile or asked.DEFAULT]))
    gpu, compute = estimate.gpu, estimate.config.compute
    parallel = parallel or (compute.processes if gpu else 2)
    names = [*ARTIFACTS, *targets] if targets in (["tables"], ["all"]) else targets
    hours = "GPU-hours" if gpu else "core-hours"
    rows = [("artifact", "jobs", hours, f"wall clock ({parallel} at once)", "disk peak (GB)")]
    for name in names:
        rows.append(estimate.line(name, jobs_of(summary_of(name, configfile, config)), parallel))
    first, *widths = (max(map(len, column)) for column in zip(*rows, strict=True))
    for name, *cells in rows:
        print("  ".join([name.ljust(first), *map(str.rjust, cells, widths)]))
    kind = "the model in trimllm_paper.demand" if estimate.guessed else "earlier runs"
    print(f"Jobs that tables share are run once: the last line is all of them. Seconds by {kind}.")
    if gpu:
        fits = gpu_plan.text(estimate.config)
        print(f"\nMemory of a job on each GPU, and the fewest that do:\n{fits}\n")
    keys = ("artifact", "jobs", "hours", "wall_clock", "disk_gb")
    print(json.dumps([dict(zip(keys, row, strict=True)) for row in rows[1:]]))
    return 0
