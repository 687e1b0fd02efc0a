"""Keep the small results of a run: numbers and hashes, no weights and no texts.

    python -m trimllm_paper reference results results/reference

The folder then holds what `trimllm_paper.kept_runs` describes: the configuration, from which
`make figures` renders all tables and figures again, and every record and domain file. Results of
other seeds (`trimllm_paper.commands.seeds`) lie in folders seed_S, which the configuration names as
`replicates`. A kept run is continued in a folder into which `trimllm unpack` has written it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from trimllm.base import files
from trimllm.base.errors import UserError
from trimllm_paper import invocation, kept_runs
from trimllm_paper.config.load import PROJECT, load
from trimllm_paper.kept_runs import Record
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
) -> dict[str, Any]:
    """Configuration of a kept run: files, each on top of those before it, and KEY=VALUE changes.

    Paths of the project's files are relative to it. Raises `UserError` for a value that the
    workflow refuses.
    """
    config = load(invocation.configuration(configfiles, changes), configfiles)
    kept = {"results": reference.as_posix(), "domains_folder": (reference / DOMAINS).as_posix()}
    content = config.model_dump(mode="json") | kept | {"mirror": None}
    return yaml.safe_load(yaml.safe_dump(content, sort_keys=False).replace(f"{PROJECT}/", ""))


def domain_files(
    config: Mapping[str, Any], changes: Sequence[str] = (), configfiles: Sequence[Path] = ()
) -> dict[str, str]:
    """Text of the domain files of a configuration, by their path in the kept run."""
    folder = invocation.configuration(configfiles, changes).get("domains_folder", "config/domains")
    return {
        f"{DOMAINS}/{name}.yaml": (PROJECT / folder / f"{name}.yaml").read_text(encoding="utf-8")
        for name in (*config["domains"], *config["tables"]["near"].values())
    }


def small(results: Path) -> dict[str, Record]:
    """Records of a run, other seeds included, by path. Those of training and compression count
    only beside their checkpoint's manifest; that of an epoch outlives its weights."""
    folders = [(results, SMALL), *((folder, POOLED) for folder in seed_folders(results))]
    paths = {path for folder, kinds in folders for kind in kinds for path in folder.glob(kind)}
    return {
        path.relative_to(results).as_posix(): {"content": files.read_json(path)}
        for path in paths
        if path.name not in ("training.json", "compression.json")
        or path.with_name(files.MANIFEST).is_file()
    }


def collect(
    results: Path, reference: Path, config: dict[str, Any], domains: Mapping[str, str]
) -> int:
    """Keep a run with its domain files (texts by path); returns the number of records."""
    if not (records := small(results)):
        raise UserError(f"{results} holds no results; run `snakemake --cores all all` first")
    replicates = [(reference / folder.name).as_posix() for folder in seed_folders(results)]
    text = "# Configuration of the run whose small results are kept here.\n"
    text += yaml.safe_dump(config | {"replicates": replicates}, sort_keys=False)
    kept_runs.write(reference, records | {k: {"text": v} for k, v in domains.items()}, text)
    return len(records)


def run(results: Path, reference: Path, changes: list[str], configfiles: list[Path]) -> int:
    """Keep a run, and print how many records it has."""
    config = configuration(changes, reference, configfiles)
    domains = domain_files(config, changes, configfiles)
    print(f"{collect(results, reference, config, domains)} records in {reference}")
    return 0
