"""Copy the small results of a run to results/reference: numbers and hashes, no weights, no texts.

    python -m trimllm_paper.commands.reference results results/reference

What is copied: evaluations, scans, per-epoch records, records of training and compression,
manifests of checkpoints, data reports and throughput; config.yaml is the configuration of the run
(the default with the given keys changed), by which `make figures` renders all tables and figures
again. A manifest.json with the sha256 of every file is written last.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from trimllm.base import files
from trimllm.base.errors import UserError
from trimllm_paper.config import settings

ROOT = Path(__file__).parents[3]

SMALL = (
    "eval/**/*.json",
    "scans/**/*.json",
    "records/**/*.jsonl",
    "models/**/manifest.json",
    "models/**/training.json",
    "models/**/compression.json",
    "data/*/report.json",
    "bench/**/*.json",
)
CONFIG = "config.yaml"


def is_reference(folder: str | Path) -> bool:
    """Whether a folder of results holds kept ones, which are rendered and never made again."""
    return (Path(folder) / files.MANIFEST).is_file()


def verify(folder: str | Path) -> None:
    """Raise `UserError` if a kept result is not what it was when it was kept."""
    try:
        files.verify_manifest(folder)
    except UserError as error:
        problem = str(error).partition(";")[0]
        raise UserError(
            f"{problem}; restore {folder} (git checkout) or run `make reference`"
        ) from None


def configuration(changes: Sequence[str], reference: Path) -> dict[str, Any]:
    """The default configuration with `key=value` changes, resolved, to be rendered by.

    Raises `UserError` for a value that the workflow would refuse too.
    """
    config = settings.read_yaml(ROOT / "config" / "config.yaml")
    for change in changes:
        key, _, value = change.partition("=")
        config = merged(config, {key: yaml.safe_load(value)})
    resolved, _ = settings.load(config, ROOT, [])
    return resolved | {"results": reference.as_posix(), "mirror": None}


def merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """`old` with the values of `new`, mappings merged as Snakemake merges `--config`."""
    both = {
        key: merged(old[key], new[key])
        for key in old.keys() & new.keys()
        if isinstance(old[key], dict) and isinstance(new[key], dict)
    }
    return old | new | both


def collect(results: Path, reference: Path, config: dict[str, Any]) -> int:
    """Copy small results; the old reference stays until the new one is whole. Returns a count."""
    temporary = files.new_sibling(reference)
    count = 0
    try:
        for pattern in SMALL:
            for path in sorted(results.glob(pattern)):
                relative = path.relative_to(results)
                if relative.parts[0] in (reference.name, "smoke", "paper") or not path.is_file():
                    continue
                # Without its manifest, which goes with the weights, a record cannot be verified.
                if relative.parts[0] == "models" and not path.with_name(files.MANIFEST).is_file():
                    continue
                (temporary / relative).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, temporary / relative)
                count += 1
        if not count:
            raise UserError(f"{results} holds no results; run `snakemake --cores all all` first")
        text = "# Configuration of the run whose small results are kept here.\n"
        text += yaml.safe_dump(config, sort_keys=False)
        # files of the project by their place in it: another clone lies elsewhere
        files.write_text(temporary / CONFIG, text.replace(f"{ROOT}/", ""))
        files.write_manifest(temporary)
        temporary.chmod(0o755)
        files.publish(temporary, reference)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return count


if __name__ == "__main__":
    try:
        source, target = Path(sys.argv[1]), Path(sys.argv[2])
        kept = collect(source, target, configuration(sys.argv[3:], target))
        print(f"{kept} files in {target}")
    except UserError as error:
        sys.exit(f"error: {error}")
