"""Copy the small results of a run to results/reference: numbers and hashes, no weights, no texts.

    python -m trimllm_paper reference results results/reference

config.yaml is the configuration of the run (the default with the given keys changed), by which
`make figures` renders all tables and figures again. A manifest.json with the sha256 of every file
is written last (`trimllm_paper.integrity.checks` says what it guards).
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import yaml

from trimllm.base import files
from trimllm.base.errors import UserError
from trimllm_paper.commands import asked
from trimllm_paper.config.load import PROJECT, load

SMALL = (
    *("eval/**/*.json", "scans/**/*.json", "throughput/**/*.json", "data/*/report.json"),
    *("models/**/epoch.json", "models/**/manifest.json"),
    *("models/**/training.json", "models/**/compression.json"),
)


def configuration(changes: list[str], reference: Path) -> dict[str, Any]:
    """The default configuration with `key=value` changes, resolved, to be rendered by.

    Raises `UserError` for a value that the workflow would refuse too.
    """
    found = load(asked.configuration(None, changes), []).model_dump(mode="json", by_alias=True)
    return found | {"results": reference.as_posix(), "mirror": None}


def small(results: Path) -> list[Path]:
    """The small results of a folder. A record of training or compression goes with its checkpoint;
    that of an epoch stays."""
    found = [path for pattern in SMALL for path in results.glob(pattern) if path.is_file()]
    gone = ("training.json", "compression.json")
    return [p for p in found if p.name not in gone or p.with_name(files.MANIFEST).is_file()]


def collect(results: Path, reference: Path, config: dict[str, Any]) -> int:
    """Copy small results; the old reference stays until the new one is whole. Returns a count."""
    if not (found := small(results)):
        raise UserError(f"{results} holds no results; run `snakemake --cores all all` first")
    temporary = files.new_sibling(reference)
    try:
        for path in found:
            copy = temporary / path.relative_to(results)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
        text = "# Configuration of the run whose small results are kept here.\n"
        text += yaml.safe_dump(config, sort_keys=False)
        # files of the project by their place in it: another clone lies elsewhere
        files.write_text(temporary / "config.yaml", text.replace(f"{PROJECT}/", ""))
        files.write_manifest(temporary)
        temporary.chmod(0o755)
        files.publish(temporary, reference)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return len(found)


def run(results: Path, reference: Path, changes: list[str]) -> int:
    """Keep them."""
    config = configuration(changes, reference)
    print(f"{collect(results, reference, config)} files in {reference}")
    return 0
