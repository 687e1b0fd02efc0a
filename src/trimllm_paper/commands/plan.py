"""What a target would take, before anything runs: jobs, hours, disk and wall-clock time.

    python -m trimllm_paper.commands.plan all --configfile config/paper.yaml --parallel 8

Jobs are those that Snakemake would run now. Seconds are those of the same kind of job that ran
before (`results/benchmarks`), or else operations over a sustained rate; an estimate of the second
kind is good to a factor of two or three. Jobs that several artifacts share are counted in each of
them, and once in the last line.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import re
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trimllm.base.errors import UserError
from trimllm_paper import demand, gpu_plan
from trimllm_paper.config import settings

ROOT = Path(__file__).parents[3]
ARTIFACTS = tuple(f"table{number}" for number in range(1, 10))
RECIPE = re.compile(r"trim_[a-z_]+_r(?P<ratio>[0-9.]+)_d(?P<step>\d+)/drop_(?P<drop>\d+)")
# A measurement of throughput, which takes every core: on two of them 12 to 60 s up to 1.1 billion
# parameters.
TIMED_SECONDS = 25.0
KEPT = ("trim_epoch_kept", "full_ft", "sparse_ft", "fetch_model")


@dataclass(frozen=True)
class Job:
    """One job that would run: its rule, folder, and what its path says."""

    rule: str
    folder: str
    model: str | None
    domain: str | None
    ratio: float | None
    drop: int
    step: int
    run: str | None
    """Folder of the chain that it is an epoch of."""

    @property
    def tested(self) -> str | None:
        """Domain whose documents it sees."""
        if self.rule.startswith("evaluate_"):
            return self.rule.removeprefix("evaluate_")
        return self.domain


def jobs_of(summary: str, config: dict[str, Any]) -> set[Job]:
    """The pending jobs of `snakemake --summary`."""
    rows = csv.DictReader(io.StringIO(summary), delimiter="\t")
    pending = [row for row in rows if "pending" in (row["plan"] or "")]
    return {job_of(row["rule"], row["output_file"], config) for row in pending}


def job_of(rule: str, file: str, config: dict[str, Any]) -> Job:
    """A job from its rule and one of its files."""
    parts = Path(file).parts
    model = next((part for part in parts if part in config["models"]), None)
    domain = parts[parts.index(model) + 1] if model else None
    if not model:  # rules of their own, or one a file
        return Job(rule, file if rule == "fetch_wheel" else rule, None, None, None, 0, 0, None)
    if rule.startswith("initial_scan"):
        domain = Path(file).stem.split(".")[0]
    found = RECIPE.search(file)
    folder = str(Path(file).parent) if rule != "record" else file
    if rule.startswith("initial_scan"):
        folder = file
    if not found:
        return Job(rule, folder, model, domain, None, 0, 0, None)
    run = str(Path(folder).parent) if rule.startswith("trim_epoch") else None
    ratio, step, drop = float(found["ratio"]), int(found["step"]), int(found["drop"])
    return Job(rule, folder, model, domain, ratio, drop, step, run)


class Estimate:
    """Seconds and bytes of jobs.

    Args:
        config: the resolved configuration.
        domains: name -> domain file, near ones included.
        gpu: whether jobs run on a GPU.
    """

    def __init__(self, config: dict[str, Any], domains: dict[str, Any], gpu: bool) -> None:
        self.config, self.domains, self.gpu = config, domains, gpu
        self.measured = measured_seconds(Path(config["results"]) / "benchmarks")
        self.guessed = 0

    def seconds(self, job: Job) -> float:
        """Seconds of one job."""
        task = demand.task_of(job.rule)
        if job.rule.startswith("benchmark"):
            return TIMED_SECONDS * (1 if self.gpu else os.cpu_count() or 1)
        if task is None or job.model is None:
            return 60.0 if job.rule.startswith(("prepare", "fetch")) else 5.0
        name = job.rule.removesuffix("_kept")
        known = self.measured.get((re.sub("^evaluate_.*", "evaluate", name), job.model))
        if known:
            return known
        self.guessed += 1
        return demand.seconds(task, self.config["models"][job.model], self.config,
                              self.gpu, **self._sizes(job))  # fmt: skip

    def _sizes(self, job: Job) -> dict[str, Any]:
        blocks = self.config["models"][job.model]["blocks"]
        expected = self.domains.get(job.tested or "", {}).get("expected") or {}
        return {
            "ratio": job.ratio,
            "kept": 1 - job.drop / (2 * blocks),
            "expected": expected,
        }

    def bytes(self, job: Job) -> float:
        """Bytes of the checkpoint that a job writes."""
        if job.model is None or job.rule.startswith(("evaluate", "initial_scan", "record")):
            return 0.0
        model = self.config["models"][job.model]
        stored = 4 if model["storage_dtype"] == "float32" else 2
        return stored * model["parameters"] * (1 - job.drop / (2 * model["blocks"]))

    def line(self, name: str, jobs: set[Job], parallel: int) -> tuple[str, ...]:
        """Artifact, jobs, hours, wall-clock hours and peak of the disk."""
        seconds = {job: self.seconds(job) for job in jobs}
        total = sum(seconds.values())
        chains: dict[str, float] = defaultdict(float)
        for job, each in seconds.items():
            if job.run:
                chains[job.run] += each
        wall = max(total / parallel, max(chains.values(), default=0.0))
        kept = sum(self.bytes(job) for job in jobs if job.rule in KEPT)
        # An epoch's weights go when the next epoch and its evaluation are done.
        passing = sorted((self.bytes(j) for j in jobs if j.rule not in KEPT), reverse=True)
        disk = kept + sum(passing[: 2 * parallel])
        hours = f"{total / 3600:.2f}" if total < 36000 else f"{total / 3600:,.0f}"
        return name, str(len(jobs)), hours, _hours(wall), f"{disk / 1e9:,.1f}"


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:,.1f} h" if seconds >= 7200 else f"{seconds / 60:.0f} min"


def measured_seconds(folder: Path) -> dict[tuple[str, str], float]:
    """(rule, model) -> mean seconds of the jobs that ran, from Snakemake's benchmark files."""
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    for path in folder.rglob("*.tsv"):
        rule, model = path.relative_to(folder).parts[:2]
        with path.open(encoding="utf-8") as stream:
            for row in csv.DictReader(stream, delimiter="\t"):
                found[rule, model.removesuffix(".tsv")].append(float(row["s"]))
    return {key: sum(values) / len(values) for key, values in found.items()}


def summary_of(target: str, configfile: Path | None, config: list[str]) -> str:
    """Snakemake's list of a target's files and what would become of them."""
    words = [sys.executable, "-m", "snakemake", "--summary", "--cores", "1"]
    words += ["--snakefile", str(ROOT / "Snakefile"), target]
    words += ["--configfile", str(configfile)] if configfile else []
    words += ["--config", *config] if config else []
    run = subprocess.run(words, capture_output=True, text=True)
    if run.returncode:
        lines = [line for line in run.stderr.splitlines() if "error" in line.lower()]
        raise UserError((lines or run.stderr.splitlines() or ["Snakemake failed"])[-1])
    return run.stdout


def table(rows: list[tuple[str, ...]]) -> str:
    """Rows in columns."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows
    )


def main() -> None:
    """Print the plan; the last line on stdout is one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("targets", nargs="*", default=["all"])
    parser.add_argument("--configfile", type=Path)
    parser.add_argument("--config", nargs="*", default=[])
    parser.add_argument("--parallel", type=int, help="jobs at once (cores or GPUs)")
    options = parser.parse_args()
    file = options.configfile or ROOT / "config" / "config.yaml"
    raw = settings.read_yaml(file)
    config, domains = settings.load(raw, ROOT, [file])
    domains |= settings.load_near(config, ROOT, [file])
    device = config["compute"]["device"]
    gpu = device == "cuda" or (device == "auto" and demand.gpus() > 0)
    parallel = options.parallel or (1 if gpu else 2)
    estimate = Estimate(config, domains, gpu)
    whole = options.targets in (["tables"], ["all"])
    names = [*ARTIFACTS, *options.targets] if whole else options.targets
    hours = "GPU-hours" if gpu else "core-hours"
    rows = [("artifact", "jobs", hours, f"wall clock ({parallel} at once)", "disk peak (GB)")]
    for name in names:
        jobs = jobs_of(summary_of(name, options.configfile, options.config), config)
        rows.append(estimate.line(name, jobs, parallel))
    print(table(rows))
    kind = "sustained rates of trimllm_paper.demand" if estimate.guessed else "earlier runs"
    print(f"Jobs that tables share are run once: the last line is all of them. Seconds by {kind}.")
    if gpu:
        print(f"\nMemory of a job on each GPU, and the fewest that do:\n{gpu_plan.text(config)}\n")
    keys = ("artifact", "jobs", "hours", "wall_clock", "disk_gb")
    print(json.dumps([dict(zip(keys, row, strict=True)) for row in rows[1:]]))


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
