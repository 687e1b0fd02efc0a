"""Run a target under several seeds, each in a folder of its own, and show means with intervals.

    python -m trimllm_paper seeds table6 --seeds 0 1 2

The first seed's results are in the configuration's `results`, those of seed S in its folder seed_S.
A seed sets the calibration documents, the order of documents and the training; the tests are the
same, so answers are paired by document. The last run renders the target from all seeds.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from trimllm_paper import invocation


def run(target: str, seeds: list[int], configfiles: list[Path], cores: str, rest: list[str]) -> int:
    """Run Snakemake (`rest`: its further arguments) under every other seed, then under the first
    one with all the others; the first failure ends it."""
    results = invocation.configuration(configfiles).get("results", "results")
    first, *others = dict.fromkeys(seeds)
    folders = {seed: (Path(results) / f"seed_{seed}").as_posix() for seed in others}
    runs = [{"seed": seed, "results": folder} for seed, folder in folders.items()]
    runs.append({"seed": first, "replicates": [*folders.values()]})
    note = "tables, claims and figures pool the seeds; throughput is of seed"
    print(f"note: {note} {first} alone", file=sys.stderr)
    for one in runs:
        changes = [f"{key}={json.dumps(value)}" for key, value in one.items()]
        command = invocation.snakemake([target], configfiles, changes, "--cores", cores, *rest)
        if code := subprocess.run(command).returncode:
            return code
    return 0
