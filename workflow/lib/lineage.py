"""Whether results that stand ready are this run's own: same configuration, model, data and code.

Snakemake compares times, parameters and code with what it noted in `.snakemake/`. A result that was
copied here, made by a run that was killed, or kept by `--rerun-triggers mtime` has no such notes or
none that count. What it carries itself is compared here, before anything is built upon it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from trimllm import files
from trimllm.provenance import config_hash, recorded


def foreign(jobs: Iterable[Any]) -> tuple[str, str] | None:
    """The first output of finished jobs that this run would not have made, and why.

    Args:
        jobs: Snakemake's jobs whose outputs are taken as they are: with `output`, `input` (lists
            of paths) and `params`.
    """
    for job in jobs:
        expected = None
        for path in map(str, job.output):
            found = recorded(path) if path.endswith(".json") else {}
            if "config_hash" not in found:
                continue
            expected = expected or config_hash(dict(job.params.items()))
            if found["config_hash"] != expected:
                return path, "was made by another configuration or code"
            if problem := _other_input(found, map(str, job.input)):
                return path, problem
    return None


def _other_input(found: Mapping[str, Any], inputs: Iterable[str]) -> str | None:
    """What a result was made from that is not what lies there now."""
    paths = list(map(Path, inputs))
    # Of several checkpoints among the inputs the first is the one that was read. It may have been
    # an epoch's, which is gone once it was evaluated.
    read = next((path for path in paths if path.name == files.MANIFEST), None)
    if (
        read
        and read.is_file()
        and "manifest_sha256" in found
        and files.sha256_of(read) != found["manifest_sha256"]
    ):
        return f"was made from another checkpoint than {read.parent}"
    data = next((path for path in paths if path.name == "report.json" and path.is_file()), None)
    if data and "data_hashes" in found and files.read_json(data)["files"] != found["data_hashes"]:
        return f"was made from other documents than {data.parent}"
    return None
