"""Keep the small results of a run: numbers and hashes, no weights and no texts.

    python -m trimllm_paper reference results results/reference

The folder then holds what `trimllm_paper.kept_runs` describes: the configuration, from which
`make figures` renders all tables and figures again, and every record and domain file. Results of
other seeds (`trimllm_paper.commands.seeds`) lie in folders seed_S, which the configuration names as
`replicates`. With `--add` what was kept before stays, so that a long run is kept part by part.
"""

from __future__ import annotations

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
from trimllm_paper.recipe import is_of_seed, keys_of, seed_folders

DOMAINS, REPLICATES = "domains", "replicates"
POOLED = (
    *("eval/**/*.json", "scans/**/*.json", "data/*/report.json"),
    *("models/**/epoch.json", "models/**/manifest.json"),
    *("models/**/training.json", "models/**/compression.json"),
)
SMALL = (*POOLED, "throughput/**/*.json", "engines/**/*.json")
"""What is kept of the first seed; of the others it is `POOLED`."""


def configuration(
    changes: list[str], reference: Path, configfiles: Sequence[Path] = ()
) -> dict[str, Any]:
    """Configuration files, each on top of those before it, with `key=value` changes, resolved.

    Raises `UserError` for a value that the workflow refuses.
    """
    config = load(invocation.configuration(configfiles, changes), configfiles)
    kept = {"results": reference.as_posix(), "domains_folder": (reference / DOMAINS).as_posix()}
    return config.model_dump(mode="json") | kept | {"mirror": None}


def domain_files(
    config: dict[str, Any], changes: Sequence[str] = (), configfiles: Sequence[Path] = ()
) -> dict[str, str]:
    """Text of the domain files of a configuration, by their path in the kept run."""
    folder = invocation.configuration(configfiles, changes).get("domains_folder", "config/domains")
    names = [*config["domains"], *config["tables"]["near"].values()]
    return {
        f"{DOMAINS}/{name}.yaml": (PROJECT / folder / f"{name}.yaml").read_text(encoding="utf-8")
        for name in dict.fromkeys(names)
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
    """Keep a run; what `reference` holds is replaced at the end. Returns the number of records.

    Args:
        domains: texts of the domain files, by path.
        add: keep what is there already, if it is of the same configuration and domains.
    """
    if not (records := small(results)):
        raise UserError(f"{results} holds no results; run `snakemake --cores all all` first")
    if add and kept_runs.is_kept(reference):
        checks.verify_reference(reference)
        records = _added(records, reference, config, domains)
    seeds = {PurePosixPath(name).parts[0] for name in records if "/eval/" in name}
    numbers = sorted(int(name.removeprefix("seed_")) for name in filter(is_of_seed, seeds))
    replicates = [(reference / f"seed_{number}").as_posix() for number in numbers]
    text = "# Configuration of the run whose small results are kept here.\n"
    text += yaml.safe_dump(portable(config | {REPLICATES: replicates}), sort_keys=False)
    texts = {name: {"text": domain} for name, domain in domains.items()}
    kept_runs.write(reference, records | texts, text)
    return len(records)


def _added(
    records: Mapping[str, Record],
    reference: Path,
    config: Mapping[str, Any],
    domains: Mapping[str, str],
) -> dict[str, Record]:
    """Records of a part of a run, with those that were kept of the parts before it.

    Raises `UserError` if these are of another configuration or of other documents.
    """
    before = kept_runs.records_of(reference)
    there, here = made_by(resolved(reference / kept_runs.CONFIG)), made_by(portable(dict(config)))
    other = [
        f"{key}: {there.get(key)} there, {here.get(key)} here"
        for key in {**there, **here}
        if there.get(key) != here.get(key)
    ]
    other += [name for name in domains if name in before and not _read_alike(before, domains, name)]
    if other:
        raise UserError(
            f"{reference} keeps results of another configuration ({', '.join(other[:4])}); "
            "leave out --add to replace them"
        )
    # A manifest beside the record of an epoch that was computed again is of the epoch before.
    found = {
        name: record
        for name, record in before.items()
        if PurePosixPath(name).with_name("epoch.json").as_posix() not in records
        and PurePosixPath(name).parts[0] != DOMAINS
    }
    # Evaluations of the parts before name the manifest of their own checkpoint.
    for name in found.keys() & records.keys():
        path, old, new = PurePosixPath(name), found[name], records[name]
        if path.name == files.MANIFEST and old != new:
            sha256 = files.content_hash(kept_runs.text_of(old))
            found[path.with_stem(f"{path.stem}-{sha256[:8]}").as_posix()] = old
    return {**found, **records}


def made_by(config: Mapping[str, Any]) -> dict[str, Any]:
    """Key and value of all that changes a configuration's results: not the other seeds, how jobs
    are run (but for their type), how many rounds are timed, nor recipes that are not run."""
    recipes = {name: config["recipes"][name] for name in config["trim"]["recipes"]}
    keys = keys_of({**config, "recipes": recipes, REPLICATES: []})
    left_out = "compute.", "throughput.repeats", "engines.repeats"
    return {k: value for k, value in keys if k == "compute.dtype" or not k.startswith(left_out)}


def _read_alike(records: Mapping[str, Record], domains: Mapping[str, str], name: str) -> bool:
    """Whether a kept domain file and one of now make the same documents."""
    before, now = (read_by(yaml.safe_load(text)) for text in (records[name]["text"], domains[name]))
    return before == now


def resolved(path: Path) -> dict[str, Any]:
    """A kept configuration with the defaults of keys that came later, as the workflow reads it."""
    return validated(Config, read_yaml(path), [path]).model_dump(mode="json")


def portable(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration with files of the project by their place in it, wherever a clone lies."""
    return yaml.safe_load(yaml.safe_dump(config, sort_keys=False).replace(f"{PROJECT}/", ""))


def run(
    results: Path, reference: Path, changes: list[str], configfiles: list[Path], add: bool
) -> int:
    """Keep a run, and print how many records it has."""
    config = configuration(changes, reference, configfiles)
    domains = domain_files(config, changes, configfiles)
    print(f"{collect(results, reference, config, domains, add)} records in {reference}")
    return 0
