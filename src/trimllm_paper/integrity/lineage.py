"""Refusal of foreign results: each must come from this configuration, model, data and code.

Snakemake has no notes on a result that was copied here or made by a run that was killed, so every
result carries the hash of its job's parameters, which is compared while the DAG is built.
"""

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from more_itertools import collapse

from trimllm.base import files
from trimllm.base.errors import UserError
from trimllm_paper import kept_runs
from trimllm_paper.records import SEAL, DataReport, sealed

ANOTHER = "was made by another configuration or code"
REMEDY = (
    "delete it (or move it away) and run again; `snakemake --touch` with the same target accepts "
    "all existing results as they are"
)


@dataclass(frozen=True, eq=False)
class Job:
    """A job of the workflow."""

    outputs: Sequence[str]  # its files that carry the hash of its parameters
    inputs: Mapping[str, str | list[str]]
    params: Mapping[str, Any]  # what its result depends on beside its inputs, as plain data

    @cached_property
    def config_hash(self) -> str:
        """Hash of its parameters, as its results carry it."""
        return config_hash(self.params)


def config_hash(params: Mapping[str, Any]) -> str:
    """SHA-256 of a job's parameters, hexadecimal."""
    return files.content_hash(json.dumps(dict(params), sort_keys=True, default=str))


def recorded(path: str | Path) -> dict[str, Any]:
    """The provenance that a JSON result or a manifest carries; empty where it has none."""
    try:
        return dict(kept_runs.read_json(path)["provenance"])
    except (OSError, UserError, KeyError, TypeError, ValueError):
        return {}


def foreign(job: Job, remade: Callable[[str, str], bool]) -> str | None:
    """The first output that this run would not have made, and why. What Snakemake makes anew is
    passed over: an output older than an input, or noted with another hash (`remade`)."""
    inputs = [*collapse(job.inputs.values())]
    newest = max((os.path.getmtime(one) for one in inputs if os.path.isfile(one)), default=0.0)
    for path in filter(os.path.isfile, job.outputs):
        made = recorded(path)
        is_older = os.path.getmtime(path) < newest
        if "config_hash" not in made or is_older or remade(path, job.config_hash):
            continue
        if made["config_hash"] != job.config_hash:
            return f"{path} {ANOTHER}; {REMEDY}"
        if problem := other_input(made, inputs):
            return f"{path} {problem}; {REMEDY}"
    return None


def other_input(made: Mapping[str, Any], inputs: Iterable[str]) -> str | None:
    """Which input of a result, by its provenance, is another one now."""
    paths = [*map(Path, inputs)]
    # The first checkpoint among the inputs is the one that was read. A state is gone by now.
    manifest = next((path for path in paths if path.name == files.MANIFEST), None)
    noted = made.get("manifest_sha256")
    if manifest and noted and kept_runs.is_file(manifest):
        # Earlier manifests of the same checkpoint are kept beside it (`accept`).
        beside = kept_runs.glob(manifest.parent, "manifest*.json")
        same = (one for one in beside if _weights_in(one) == _weights_in(manifest))
        if noted not in map(kept_runs.sha256_of, same):
            return f"was made from another checkpoint than {manifest.parent}"
    report = next((path for path in paths if path.name == "report.json"), None)
    hashes = made.get("data_hashes")
    if report and hashes and kept_runs.is_file(report) and hashes != DataReport.read(report).files:
        return f"was made from other documents than {report.parent}"
    return None


def _weights_in(manifest: Path) -> dict[str, Any]:
    named = kept_runs.read_json(manifest)["files"].items()
    return {name: entry for name, entry in named if name.endswith(".safetensors")}


def accept(job: Job) -> None:
    """Accept existing outputs of a job as this run's: each gets the hash of this run's parameters,
    and lists earlier hashes under `accepted`. A changed manifest is kept: results name it."""
    # A manifest first: its copy must be the one that results name.
    for path in sorted(map(Path, job.outputs), key=lambda path: path.name != files.MANIFEST):
        made = recorded(path)
        if made.get("config_hash", job.config_hash) == job.config_hash:
            continue
        if path.name == files.MANIFEST:
            copy = path.with_stem(f"{path.stem}-{files.sha256_of(path)[:8]}")
            files.write_text(copy, path.read_text(encoding="utf-8"))
        before = [*made.get("accepted", ()), made["config_hash"]]
        made = made | {"config_hash": job.config_hash, "accepted": before}
        _rewrite(path, {"provenance": made})
        manifest = path.with_name(files.MANIFEST)
        named = files.read_json(manifest)["files"] if manifest.is_file() else {}
        if path.name in named:
            entry = {"sha256": files.sha256_of(path), "bytes": path.stat().st_size}
            _rewrite(manifest, {"files": named | {path.name: entry}})


def _rewrite(path: Path, changes: Mapping[str, Any]) -> None:
    """Change keys of a result; it stays as old as it was."""
    content, times = files.read_json(path) | changes, path.stat()
    files.write_json(path, sealed(content) if SEAL in content else content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def foreign_replicate(job: Job, results: str, folders: Sequence[str]) -> str | None:
    """The first counterpart of a job's outputs in results of another seed that has another hash
    than this run would give it under that seed."""
    for folder in folders:
        expected = config_hash(with_seed(job.params, seed_of(folder)))
        for path in job.outputs:
            other = Path(folder, os.path.relpath(path, results))
            if recorded(other).get("config_hash", expected) != expected:
                remedy = "take its folder out of `replicates`, or make it again by `make seeds`"
                return f"{other} {ANOTHER} than this run's with only the seed changed; {remedy}"
    return None


@cache
def seed_of(folder: str) -> int | None:
    """The seed that the evaluations of a folder of results name; None where none does."""
    seeds = (recorded(path).get("seed") for path in kept_runs.glob(folder, "eval/**/*.json"))
    return next((seed for seed in seeds if seed is not None), None)


def with_seed(params: Mapping[str, Any], seed: int | None) -> dict[str, Any]:
    """Parameters with every value named `seed` replaced, at any depth."""
    return json.loads(
        json.dumps(dict(params), default=str),
        object_hook=lambda one: one | {"seed": seed} if "seed" in one else one,
    )
