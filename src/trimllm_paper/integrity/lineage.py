"""Whether results that stand ready are this run's own: same configuration, model, data and code.

Snakemake compares times, parameters and code with what it noted in `.snakemake/`. A result that was
copied here, made by a run that was killed, or kept by `--rerun-triggers mtime` has no such notes or
none that count. What it carries itself is compared here, before anything is built upon it: job by
job, while the DAG is built. Results under other seeds, which tables pool with this run's, must be
what this run would make under their seed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from trimllm.base import files
from trimllm_paper import kept_runs
from trimllm_paper.data_records import DataReport
from trimllm_paper.integrity.provenance import config_hash, recorded

ANOTHER = "was made by another configuration or code"
Found = tuple[str, str]
"""A file, and why it is not what this run would have made."""


@dataclass(frozen=True, eq=False)
class Job:
    """A job of the workflow.

    Attributes:
        outputs: its files that carry what it depended on.
        files: what it reads, a file or several by name.
        how: what it depends on beside, as plain data.
    """

    outputs: Sequence[str]
    files: Mapping[str, str | list[str]]
    how: Mapping[str, Any]

    @property
    def inputs(self) -> list[str]:
        """All that it reads."""
        named = self.files.values()
        return [file for one in named for file in ([one] if isinstance(one, str) else one)]

    @cached_property
    def config_hash(self) -> str:
        """Hash of what it depends on, as its results carry it."""
        return config_hash(self.how)


def foreign(job: Job, remade: Callable[[str, str], bool]) -> Found | None:
    """The first output of a job that lies there and is not of this run's making.

    What Snakemake makes anew by itself is passed over: an output that is older than an input, or
    that it noted other parameters of.

    Args:
        remade: (output, hash of what the job depends on) -> whether it has noted such.
    """
    wanted = job.config_hash

    def taken(path: str) -> bool:
        made = os.stat(path).st_mtime
        older = all(os.stat(one).st_mtime <= made for one in job.inputs if os.path.isfile(one))
        return older and not remade(path, wanted)

    return _first(filter(taken, filter(os.path.isfile, job.outputs)), job.inputs, wanted)


def with_seed(settings: Any, seed: int) -> Any:
    """Settings with every value that is named `seed` replaced, however deep it lies."""
    if isinstance(settings, Mapping):
        return {k: seed if k == "seed" else with_seed(v, seed) for k, v in settings.items()}
    if isinstance(settings, list | tuple):
        return [with_seed(value, seed) for value in settings]
    return settings


class Replicates:
    """Folders of the same results under other seeds, one a folder.

    Args:
        results, seed: folder and seed of the run itself.
        folders: the others.
    """

    def __init__(self, results: str, seed: int, folders: Sequence[str]) -> None:
        self.results, self.folders = results, list(map(os.path.normpath, folders))
        self.seeds: dict[int, str] = {seed: results}

    def clash(self) -> Found | None:
        """Two folders that hold results of one seed."""
        for folder in self.folders:
            seed = seed_of(folder)
            if seed is not None and self.seeds.setdefault(seed, folder) != folder:
                return folder, f"holds results of seed {seed}, and so does {self.seeds[seed]}"
        return None

    def foreign(self, job: Job) -> Found | None:
        """The first counterpart of a job's outputs that this run would not make so."""
        for folder in self.folders:
            if (seed := seed_of(folder)) is None:
                continue
            outputs, inputs = (self._there(paths, folder) for paths in (job.outputs, job.inputs))
            if found := _first(outputs, inputs, config_hash(with_seed(job.how, seed))):
                than = " than this run's with only the seed changed" if found[1] == ANOTHER else ""
                return found[0], found[1] + than
        return None

    def _there(self, paths: Iterable[str], folder: str) -> list[str]:
        own = [path for path in map(Path, paths) if path.is_relative_to(self.results)]
        return [str(folder / path.relative_to(self.results)) for path in own]


@cache
def seed_of(folder: str) -> int | None:
    """The seed that the evaluations of a folder of results name; None where none does."""
    for path in kept_runs.glob(folder, "eval/**/*.json"):
        if (seed := recorded(path).get("seed")) is not None:
            return seed
    return None


def _first(outputs: Iterable[str], inputs: Sequence[str], wanted: str) -> Found | None:
    """The first output that was not made of what lies there, by what it carries itself."""
    for path in outputs:
        made = recorded(path) if path.endswith(".json") else {}
        if "config_hash" not in made:
            continue
        if made["config_hash"] != wanted:
            return path, ANOTHER
        if problem := _other_input(made, inputs):
            return path, problem
    return None


def is_manifest_of(sha256: str | None, manifest: Path) -> bool:
    """Whether a checkpoint's manifest has this SHA-256, or one kept beside it that names the same
    model: of a long run's parts, each made its own, with the same bytes (`reference --add`)."""
    if sha256 == kept_runs.sha256_of(manifest):
        return True
    others = kept_runs.glob(manifest.parent, f"{manifest.stem}-*{manifest.suffix}")
    found = [one for one in others if sha256 == kept_runs.sha256_of(one)]
    own = model_of(kept_runs.read_json(manifest))
    return any(model_of(kept_runs.read_json(one)) == own for one in found)


def model_of(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What a checkpoint's manifest says of its files, but a card, records of how it was made, and
    tokenizer_config.json, which once told how the tokenizer was read (with a network or not)."""
    told = ("README.md", "tokenizer_config.json", "training.json", "epoch.json", "compression.json")
    return {name: said for name, said in manifest["files"].items() if name not in told}


def _other_input(made: Mapping[str, Any], inputs: Iterable[str]) -> str | None:
    """What a result was made from that is not what lies there now."""
    paths = list(map(Path, inputs))
    # Of several checkpoints among the inputs the first is the one that was read. It may have been
    # an epoch's, which is gone once it was evaluated.
    read = next((path for path in paths if path.name == files.MANIFEST), None)
    noted = made.get("manifest_sha256")
    if read and noted and read.is_file() and not is_manifest_of(noted, read):
        return f"was made from another checkpoint than {read.parent}"
    data = next((path for path in paths if path.name == "report.json"), None)
    known = made.get("data_hashes")
    if data and known and data.is_file() and known != DataReport.read(data).files:
        return f"was made from other documents than {data.parent}"
    return None
