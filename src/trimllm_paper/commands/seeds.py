"""Run a target under several seeds, each in a folder of its own, and show mean and deviation.

    python -m trimllm_paper.commands.seeds table6 --seeds 0 1 2

The first seed's results lie in the configuration's `results`, those of seed S beside them in
`results`/seed_S. The seed is that of splits, document order and training alike, so that the
deviation holds all three. The last run renders the target from all of them (key `replicates`).
Tables pool what the seeds measured; figures, claims and throughput are those of the first seed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[3]
FIRST_SEED = ("figure", "claims", "overview", "table1", "benchmarks")
"""Targets, by how their names begin, that show the first seed alone."""


def pooled(target: str) -> bool:
    """Whether a target, by name or as a file, shows all seeds (or only makes their results)."""
    return not Path(target).name.startswith(FIRST_SEED)


def commands(
    target: str, seeds: list[int], configfile: Path | None, cores: str, rest: list[str]
) -> list[list[str]]:
    """The Snakemake runs, in order: every other seed, then the first one with all the others."""
    config = yaml.safe_load((configfile or ROOT / "config" / "config.yaml").read_text("utf-8"))
    results = Path(config.get("results", "results"))
    first, *others = dict.fromkeys(seeds)
    folders = {seed: (results / f"seed_{seed}").as_posix() for seed in others}

    def run(seed: int, **changes: object) -> list[str]:
        words = [sys.executable, "-m", "snakemake", "--cores", cores, *rest]
        words += ["--snakefile", str(ROOT / "Snakefile"), target]
        words += ["--configfile", str(configfile)] if configfile else []
        values = {"seed": seed, **changes}
        return [*words, "--config", *(f"{k}={json.dumps(v)}" for k, v in values.items())]

    runs = [run(seed, results=folder) for seed, folder in folders.items()]
    return [*runs, run(first, replicates=list(folders.values()))]


def main() -> int:
    """Run them; the first one that fails ends all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("target")
    parser.add_argument("--seeds", nargs="+", type=int, required=True)
    parser.add_argument("--configfile", type=Path)
    parser.add_argument("--cores", default="all")
    options, rest = parser.parse_known_args()
    first = options.seeds[0]
    if not pooled(options.target):
        sys.exit(
            f"error: {options.target} shows one seed alone, so that training others would change "
            "nothing in it; ask for one of table2 to table9, tables or all, or for one seed: "
            f"snakemake {options.target} --config seed={first}"
        )
    print(
        f"note: tables pool the seeds; figures, claims and throughput show seed {first} alone",
        file=sys.stderr,
    )
    for command in commands(options.target, options.seeds, options.configfile, options.cores, rest):
        if code := subprocess.run(command).returncode:
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
