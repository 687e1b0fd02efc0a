"""Run a target under several seeds, each in a folder of its own, and show means with intervals.

    python -m trimllm_paper seeds table6 --seeds 0 1 2

The first seed's results lie in the configuration's `results`, those of seed S beside them in
`results`/seed_S. The seed says what is calibrated on, in what order documents are taken, and how is
trained; tests and held-back documents are the same under all seeds, so that answers are paired by
document. The last run renders the target from all of them (key `replicates`).
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from trimllm.base.errors import UserError
from trimllm_paper import invocation
from trimllm_paper.recipe import seed_folder

FIRST_SEED = ("figure2", "figure3", "figure4", "table1", "throughput", "table_engines", "report")
"""Targets, by how their names or those of their files begin, that show the first seed alone."""


def commands(
    target: str,
    seeds: list[int],
    configfiles: Sequence[Path],
    cores: str,
    rest: list[str],
) -> list[list[str]]:
    """The Snakemake runs, in order: every other seed, then the first one with all the others.

    Args:
        configfiles: each on top of those before it; none: the default.
        rest: further words of Snakemake's.
    """
    results = invocation.configuration(configfiles).get("results", "results")
    first, *others = dict.fromkeys(seeds)
    folders = {seed: seed_folder(results, seed).as_posix() for seed in others}
    changed = [{"seed": seed, "results": folder} for seed, folder in folders.items()]
    changed.append({"seed": first, "replicates": list(folders.values())})
    values = ([f"{key}={json.dumps(value)}" for key, value in one.items()] for one in changed)
    words = ["--cores", cores, *rest]
    return [invocation.snakemake([target], configfiles, one, *words) for one in values]


def run(
    target: str,
    seeds: list[int],
    configfiles: list[Path],
    cores: str,
    rest: list[str],
) -> int:
    """Run them; the first one that fails ends all."""
    if Path(target).name.startswith(FIRST_SEED):
        raise UserError(
            f"{target} shows one seed alone, so that training others would change nothing in it; "
            "ask for one of table2 to table9, tables, figure1 or all, or for one seed: "
            f"snakemake {target} --config seed={seeds[0]}"
        )
    runs = commands(target, seeds, configfiles, cores, rest)
    told = (
        "note: tables, claims and Figure 1 pool the seeds; the other figures and throughput show "
        f"seed {seeds[0]} alone"
    )
    print(told, file=sys.stderr)
    codes = (subprocess.run(command).returncode for command in runs)
    return next(filter(None, codes), 0)
