"""Keep the small results of a run: numbers and hashes, no weights and no texts.

    python -m trimllm_paper reference results results/reference

The folder then holds what `trimllm_paper.kept_runs` describes: the configuration, from which
`make figures` renders all tables and figures again, and every record and domain file. Results of
other seeds (`trimllm_paper.commands.seeds`) lie in folders seed_S, which the configuration names as
`replicates`. With `--add` what was kept before stays, so that a long run is kept part by part.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from trimllm.base import files
from trimllm.base.errors import UserError
from trimllm_paper import invocation, kept_runs
from trimllm_paper.config.domain import read_by
from trimllm_paper.config.load import PROJECT, load, read_yaml, validated
from trimllm_paper.config.models import Config
from trimllm_paper.integrity import checks
from trimllm_paper.kept_runs import Record
from trimllm_paper.recipe import keys_of, seed_folders

DOMAINS = "domains"
POOLED = (
    *("eval/**/*.json", "scans/**/*.json", "data/*/report.json"),
    *("models/**/epoch.json", "models/**/manifest.json"),
    *("models/**/training.json", "models/**/compression.json"),
)
SMALL = (*POOLED, "throughput/**/*.json", "engines/**/*.json")
"""What is kept of the first seed; of the others it is `POOLED`."""
NOT_RESULTS = ("replicates", "compute.", "throughput.repeats", "engines.repeats")
"""Keys that do not change a configuration's results, except `compute.dtype`."""


def configuration(
    changes: Sequence[str], reference: Path, configfiles: Sequence[Path] = ()
) -> dict[str, Any]:
    """Configuration of a kept run: files, each on top of those before it, and KEY=VALUE changes.

    Raises `UserError` for a value that the workflow refuses.
    """
    config = load(invocation.configuration(configfiles, changes), configfiles)
    kept = {"results": reference.as_posix(), "domains_folder": (reference / DOMAINS).as_posix()}
    return config.model_dump(mode="json") | kept | {"mirror": None}


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
    results: Path,
    reference: Path,
    config: dict[str, Any],
    domains: Mapping[str, str],
    add: bool = False,
) -> int:
    """Keep a run with its domain files (texts by path); returns the number of records.

    With `add` what `reference` holds already stays, if it is of the same configuration and domains.
    """
    if not (records := small(results)):
        raise UserError(f"{results} holds no results; run `snakemake --cores all all` first")
    if add and kept_runs.is_kept(reference):
        checks.verify_reference(reference)
        records = _added(records, reference, config, domains)
    evaluated = filter(None, (re.match(r"seed_(\d+)/eval/", name) for name in records))
    seeds = {int(match[1]) for match in evaluated}
    replicates = [(reference / f"seed_{seed}").as_posix() for seed in sorted(seeds)]
    text = "# Configuration of the run whose small results are kept here.\n"
    text += yaml.safe_dump(portable(config | {"replicates": replicates}), sort_keys=False)
    kept_runs.write(reference, records | {k: {"text": v} for k, v in domains.items()}, text)
    return len(records)


def _added(
    records: Mapping[str, Record],
    reference: Path,
    config: dict[str, Any],
    domains: Mapping[str, str],
) -> dict[str, Record]:
    """Records of a part of a run, with those that were kept of the parts before it.

    Raises `UserError` if these are of another configuration or of other documents.
    """
    kept = kept_runs.records_of(reference)
    there, here = made_by(resolved(reference / kept_runs.CONFIG)), made_by(portable(config))
    other = [
        f"{key}: {there.get(key)} there, {here.get(key)} here"
        for key in {**there, **here}
        if there.get(key) != here.get(key)
    ]
    for name in sorted(domains.keys() & kept.keys()):
        documents = [read_by(yaml.safe_load(x)) for x in (kept[name]["text"], domains[name])]
        other += [name] if documents[0] != documents[1] else []
    if other:
        raise UserError(
            f"{reference} keeps results of another configuration ({', '.join(other[:4])}); "
            "leave out --add to replace them"
        )
    merged = dict(records)
    for name, record in kept.items():
        path = PurePosixPath(name)
        # A manifest beside the record of an epoch that was computed again is of the epoch before.
        if path.parts[0] == DOMAINS or path.with_name("epoch.json").as_posix() in records:
            continue
        # Evaluations of the parts before name the manifest of their own checkpoint.
        if path.name == files.MANIFEST and records.get(name, record) != record:
            sha256 = files.content_hash(kept_runs.text_of(record))
            name = path.with_stem(f"{path.stem}-{sha256[:8]}").as_posix()
        merged.setdefault(name, record)
    return merged


def made_by(config: Mapping[str, Any]) -> dict[str, Any]:
    """Key and value of all that changes a configuration's results: not the other seeds, how jobs
    are run (but for their type), how many rounds are timed, nor recipes that are not run."""
    recipes = {name: config["recipes"][name] for name in config["trim"]["recipes"]}
    keys = keys_of({**config, "recipes": recipes})
    return {k: v for k, v in keys if k == "compute.dtype" or not k.startswith(NOT_RESULTS)}


def resolved(path: Path) -> dict[str, Any]:
    """A kept configuration with the defaults of keys that came later, as the workflow reads it."""
    return validated(Config, read_yaml(path), [path]).model_dump(mode="json")


def portable(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration with paths of the project's files relative to it."""
    return yaml.safe_load(yaml.safe_dump(config, sort_keys=False).replace(f"{PROJECT}/", ""))


def run(
    results: Path, reference: Path, changes: list[str], configfiles: list[Path], add: bool
) -> int:
    """Keep a run, and print how many records it has."""
    config = configuration(changes, reference, configfiles)
    domains = domain_files(config, changes, configfiles)
    print(f"{collect(results, reference, config, domains, add)} records in {reference}")
    return 0
