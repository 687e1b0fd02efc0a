"""Refusal of foreign results: each must come from this configuration, model, data and code.

Snakemake compares times, inputs and parameters with its notes in `.snakemake/`. It has no notes on
a result that was copied here or made by a run that was killed, so every result carries the hash of
its job's parameters, and it is compared while the DAG is built. Results under other seeds, which
tables pool with this run's, must be what this run would make under their seed.
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
from trimllm_paper.integrity.provenance import config_hash, recorded
from trimllm_paper.records import SEAL, DataReport, sealed

ANOTHER = "was made by another configuration or code"
Problem = tuple[str, str]
"""A file, and why this run would not have made it."""


@dataclass(frozen=True, eq=False)
class Job:
    """A job of the workflow.

    Attributes:
        outputs: its files that carry the hash of its parameters.
        inputs: what it reads, a file or several by name.
        params: what its result depends on beside its inputs, as plain data.
    """

    outputs: Sequence[str]
    inputs: Mapping[str, str | list[str]]
    params: Mapping[str, Any]

    @property
    def input_files(self) -> list[str]:
        """All that it reads."""
        named = self.inputs.values()
        return [file for one in named for file in ([one] if isinstance(one, str) else one)]

    @cached_property
    def config_hash(self) -> str:
        """Hash of its parameters, as its results carry it."""
        return config_hash(self.params)


def foreign(job: Job, remade: Callable[[str, str], bool]) -> Problem | None:
    """The first output of a job that lies there and that this run would not have made.

    Passed over is what Snakemake makes anew by itself: an output older than an input, or one that
    it noted other parameters of.

    Args:
        remade: (output, hash of the parameters) -> whether it noted others.
    """

    def stays(path: str) -> bool:
        made = os.stat(path).st_mtime
        inputs = filter(os.path.isfile, job.input_files)
        older = any(os.stat(one).st_mtime > made for one in inputs)
        return not older and not remade(path, job.config_hash)

    ready = filter(stays, filter(os.path.isfile, job.outputs))
    return _first_foreign(ready, job.input_files, job.config_hash)


def accept(job: Job) -> None:
    """Make the outputs of a job that lie there this run's own, whatever made them.

    Each then carries the hash of this run's parameters, and under `accepted` those before. A
    changed manifest is kept beside the new one, for results that name it (`is_manifest_of`).
    """
    # A manifest first: its copy must be the one that results name.
    for path in sorted(map(Path, job.outputs), key=lambda path: path.name != files.MANIFEST):
        made = recorded(path) if path.suffix == ".json" else {}
        if made.get("config_hash", job.config_hash) == job.config_hash:
            continue
        if path.name == files.MANIFEST:
            copy = path.with_stem(f"{path.stem}-{files.sha256_of(path)[:8]}")
            files.write_text(copy, path.read_text(encoding="utf-8"))
        before = [*made.get("accepted", ()), made["config_hash"]]
        made = made | {"config_hash": job.config_hash, "accepted": before}
        _rewrite(path, {"provenance": made})
        manifest = path.with_name(files.MANIFEST)
        named = recorded_files(manifest)
        if path.name in named:
            entry = {"sha256": files.sha256_of(path), "bytes": path.stat().st_size}
            _rewrite(manifest, {"files": named | {path.name: entry}})


def _rewrite(path: Path, changes: Mapping[str, Any]) -> None:
    """Change keys of a result; it stays as old as it was."""
    content, times = files.read_json(path), path.stat()
    content |= changes
    files.write_json(path, sealed(content) if SEAL in content else content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def recorded_files(manifest: Path) -> dict[str, Any]:
    """What a manifest says of its files; nothing where there is none."""
    return dict(files.read_json(manifest)["files"]) if manifest.is_file() else {}


def with_seed(settings: Any, seed: int) -> Any:
    """Settings with every value named `seed` replaced, at any depth."""
    if isinstance(settings, Mapping):
        return {k: seed if k == "seed" else with_seed(v, seed) for k, v in settings.items()}
    if isinstance(settings, list | tuple):
        return [with_seed(value, seed) for value in settings]
    return settings


class Replicates:
    """Folders with the same results under other seeds, one a folder.

    Args:
        results, seed: folder and seed of the run itself.
        folders: the others.
    """

    def __init__(self, results: str, seed: int, folders: Sequence[str]) -> None:
        self.results, self.folders = results, list(map(os.path.normpath, folders))
        self.seeds: dict[int, str] = {seed: results}

    def clash(self) -> Problem | None:
        """Two folders with results of one seed."""
        for folder in self.folders:
            seed = seed_of(folder)
            if seed is not None and self.seeds.setdefault(seed, folder) != folder:
                return folder, f"holds results of seed {seed}, and so does {self.seeds[seed]}"
        return None

    def foreign(self, job: Job) -> Problem | None:
        """The first counterpart of a job's outputs that this run would not make so."""
        for folder in self.folders:
            if (seed := seed_of(folder)) is None:
                continue
            outputs, inputs = (self._in(folder, paths) for paths in (job.outputs, job.input_files))
            if problem := _first_foreign(outputs, inputs, config_hash(with_seed(job.params, seed))):
                than = " than this run's with only the seed changed"
                return problem[0], problem[1] + (than if problem[1] == ANOTHER else "")
        return None

    def _in(self, folder: str, paths: Iterable[str]) -> list[str]:
        own = [path for path in map(Path, paths) if path.is_relative_to(self.results)]
        return [str(folder / path.relative_to(self.results)) for path in own]


@cache
def seed_of(folder: str) -> int | None:
    """The seed that the evaluations of a folder of results name; None where none does."""
    seeds = (recorded(path).get("seed") for path in kept_runs.glob(folder, "eval/**/*.json"))
    return next((seed for seed in seeds if seed is not None), None)


def _first_foreign(
    outputs: Iterable[str], inputs: Sequence[str], config_hash: str
) -> Problem | None:
    """The first output that carries another hash, checkpoint or data than lie there."""
    for path in outputs:
        made = recorded(path) if path.endswith(".json") else {}
        if "config_hash" not in made:
            continue
        if made["config_hash"] != config_hash:
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
    own = model_of(kept_runs.read_json(manifest))
    same = [one for one in others if sha256 == kept_runs.sha256_of(one)]
    return any(model_of(kept_runs.read_json(one)) == own for one in same)


def model_of(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What a checkpoint's manifest says of its files, without card, records of how it was made and
    tokenizer_config.json, which may name the network."""
    records = ("training.json", "epoch.json", "compression.json")
    other = ("README.md", "tokenizer_config.json", *records)
    return {name: entry for name, entry in manifest["files"].items() if name not in other}


def _other_input(made: Mapping[str, Any], inputs: Iterable[str]) -> str | None:
    """What a result was made from that is not what lies there now."""
    paths = list(map(Path, inputs))
    # The first checkpoint among the inputs is the one that was read. A state is gone by now.
    manifest = next((path for path in paths if path.name == files.MANIFEST), None)
    noted = made.get("manifest_sha256")
    if manifest and noted and manifest.is_file() and not is_manifest_of(noted, manifest):
        return f"was made from another checkpoint than {manifest.parent}"
    report = next((path for path in paths if path.name == "report.json"), None)
    hashes = made.get("data_hashes")
    if report and hashes and report.is_file() and hashes != DataReport.read(report).files:
        return f"was made from other documents than {report.parent}"
    return None
