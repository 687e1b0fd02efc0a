"""How long Snakemake takes to build the DAG of a large study, and how much memory.

    python benchmarks/dag.py                 the paper's configuration, then a study of 10,000 jobs

The study is `config/paper.yaml` by every criterion, one unit an epoch, and each model as often as
there are ratios and seeds (a chain of its own each). Seconds are wall time of `snakemake -n all`,
start of Python and printing of all jobs included; memory is the process's peak. On two cores an
idle machine stays under 20 s and 1 GiB for the paper's configuration.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
RECIPES = {
    name: {"criterion": criterion, "ratio": 0.25, "step": 1}
    for name, criterion in (
        ("paper", "both"),
        ("accuracy", "calibration"),
        ("norm", "activation_norm"),
        ("ours", "likelihood"),
    )
}
"""A chain by every criterion, one unit an epoch."""


def study(copies: int, recipes: dict[str, Any] | None = None) -> dict[str, Any]:
    """The paper's configuration, each model `copies` times under names of its own.

    Args:
        recipes: chains of every model in place of the configuration's.
    """
    config = yaml.safe_load((ROOT / "config/paper.yaml").read_text(encoding="utf-8"))
    config["models"] = {
        f"{name}.{number}" if number else name: copy.deepcopy(model) | {"published": None}
        for name, model in config["models"].items()
        for number in range(copies)
    }
    if recipes:
        config["recipes"] = recipes
        config["trim"]["recipes"] = list(recipes)
    return config


def measure(config: dict[str, Any]) -> dict[str, float]:
    """Dry-run a configuration in an empty folder: jobs, seconds, peak MiB."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "study.yaml")
        file.write_text(yaml.safe_dump(config), encoding="utf-8")
        words = [sys.executable, "-m", "snakemake", "-n", "all", "--cores", "8"]
        words += ["--snakefile", str(ROOT / "Snakefile"), "--directory", folder]
        words += ["--configfile", str(file)]
        with Path(folder, "output").open("w+") as output:
            start = time.perf_counter()
            process = subprocess.Popen(words, stdout=output, stderr=subprocess.STDOUT)
            _, status, used = os.wait4(process.pid, 0)
            seconds = time.perf_counter() - start
            output.seek(0)
            text = output.read()
    if status:
        sys.exit(f"error: the dry run failed:\n{text[-2000:]}")
    jobs = int(re.findall(r"^total\s+(\d+)", text, re.MULTILINE)[-1])
    cpu = used.ru_utime + used.ru_stime
    return {
        "jobs": jobs,
        "seconds": round(seconds, 1),
        "cpu_seconds": round(cpu, 1),
        "peak_mib": round(used.ru_maxrss / 1024),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    help_text = "each model so many times (ratios x seeds) in the large study (5: 10,000 jobs)"
    parser.add_argument("--copies", type=int, default=5, help=help_text)
    copies = parser.parse_args().copies
    cases = {
        "paper": study(1),
        "paper, all criteria, one unit an epoch": study(1, RECIPES),
        f"the same, {copies} ratios and seeds": study(copies, RECIPES),
    }
    found = {}
    for name, config in cases.items():
        found[name] = one = measure(config)
        print(
            f"{name}: {one['jobs']} jobs, {one['seconds']} s (CPU {one['cpu_seconds']} s), "
            f"{one['peak_mib']} MiB",
            flush=True,
        )
    print(json.dumps(found))


if __name__ == "__main__":
    main()
