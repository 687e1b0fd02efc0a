"""Keep the small results of a run (numbers and hashes, no weights and no texts), unpack them, and
verify every result of a folder.

    trimllm reference results results/reference
    trimllm unpack results/reference results
    trimllm verify results

A kept run is what `trimllm_paper.kept_runs` describes: the configuration, from which
`make figures` renders all tables and figures again, and every record and domain file. Results of
other seeds lie in folders seed_S, which the configuration names as `replicates`. A kept run is
continued in a folder into which it was unpacked, and kept again as a whole.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from trimllm.base import files
from trimllm.base.errors import UserError
from trimllm_paper import invocation, kept_runs
from trimllm_paper.config.load import PROJECT
from trimllm_paper.integrity import checks
from trimllm_paper.recipe import seed_folders

DOMAINS = "domains"
POOLED = (
    *("eval/**/*.json", "scans/**/*.json", "data/*/report.json"),
    *("models/**/epoch.json", "models/**/manifest*.json"),
    *("models/**/training.json", "models/**/compression.json"),
)
SMALL = (*POOLED, "throughput/**/*.json", "engines/**/*.json")
"""What is kept of the first seed; of the others it is `POOLED`."""


def configuration(
    changes: Sequence[str], reference: Path, configfiles: Sequence[Path] = ()
) -> tuple[dict[str, Any], dict[str, str]]:
    """Configuration of a kept run (files, each on top of those before it, and KEY=VALUE changes),
    and the text of its domain files, by their path in the kept run.

    Paths of the project's files are relative to it. Raises `UserError` for a value that the
    workflow refuses.
    """
    config = invocation.checked(configfiles, changes)
    domains = {f"{DOMAINS}/{k}.yaml": kept_runs.read_text(d.path) for k, d in config.tested.items()}
    kept = {"results": reference.as_posix(), "domains_folder": (reference / DOMAINS).as_posix()}
    content = config.model_dump(mode="json") | kept | {"mirror": None}
    text = yaml.safe_dump(content, sort_keys=False).replace(f"{PROJECT}/", "")
    return yaml.safe_load(text), domains


def collect(
    results: Path, reference: Path, config: dict[str, Any], domains: Mapping[str, str]
) -> int:
    """Keep a run with its domain files (texts by path); returns the number of records.

    Records of other seeds are included. Records outlive the weights of temporary checkpoints: the
    tables choose by those of annealing which checkpoint keeps enough.
    """
    seeds = seed_folders(results)
    folders = [(results, SMALL), *((folder, POOLED) for folder in seeds)]
    paths = {path for folder, kinds in folders for kind in kinds for path in folder.glob(kind)}
    records: dict[str, kept_runs.Record] = {
        path.relative_to(results).as_posix(): {"content": files.read_json(path)} for path in paths
    }
    if not records:
        raise UserError(f"{results} holds no results; run `snakemake --cores all all` first")
    replicates = [(reference / folder.name).as_posix() for folder in seeds]
    text = "# Configuration of the run whose small results are kept here.\n"
    text += yaml.safe_dump(config | {"replicates": replicates}, sort_keys=False)
    kept_runs.write(reference, records | {k: {"text": v} for k, v in domains.items()}, text)
    return len(records)


def run(results: Path, reference: Path, changes: list[str], configfiles: list[Path]) -> int:
    """Keep a run, and print how many records it has."""
    config, domains = configuration(changes, reference, configfiles)
    print(f"{collect(results, reference, config, domains)} records in {reference}")
    return 0


def unpack(reference: Path, results: Path) -> int:
    """Write the records of a kept run as the files that they were, byte by byte, and print how many
    were written; existing files stay. Weights and documents are not kept."""
    if not kept_runs.is_kept(reference):
        raise UserError(f"{reference} holds no kept run ({kept_runs.RECORDS}, manifest.json)")
    records = kept_runs.records_of(reference)
    missing = [name for name in records if not (results / name).exists()]
    for name in missing:
        files.write_text(results / name, kept_runs.text_of(records[name]))
    print(f"{len(missing)} files in {results}")
    return 0


def verify(folder: Path) -> int:
    """Print a line for each result that fails, and how many of each kind were checked."""
    if not folder.is_dir():
        raise UserError(f"{folder} does not exist")
    counts, problems = checks.verify(folder)
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    checked = ", ".join(f"{counts[kind]} {kind}" for kind in checks.CHECKS)
    print(f"{folder}: {checked}; {len(problems) or 'none'} failed")
    return 1 if problems else 0
