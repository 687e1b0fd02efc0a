"""Copy the small results of a run to results/reference: numbers and hashes, no weights, no texts.

    python -m trimllm_paper reference results results/reference

config.yaml is the configuration of the run (files of `--configfile`, changed by keys) and domains/
what its documents are, by which `make figures` renders all tables and figures again. What other
seeds made (`trimllm_paper.commands.seeds`) is kept in folders seed_S of it, which its configuration
names as `replicates`. With `--add` what was kept before stays: a long run is kept as its parts end,
and what it lacks yet is `not run`.
A manifest.json with the sha256 of every file is written last (`trimllm_paper.integrity.checks` says
what it guards).
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from trimllm.base import files
from trimllm.base.errors import UserError
from trimllm_paper import invocation
from trimllm_paper.config.domain import read_by
from trimllm_paper.config.load import PROJECT, load, read_yaml, validated
from trimllm_paper.config.models import Config
from trimllm_paper.integrity import checks, lineage
from trimllm_paper.recipe import keys_of, seed_folders

CONFIG, DOMAINS, REPLICATES = "config.yaml", "domains", "replicates"
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

    Raises `UserError` for a value that the workflow would refuse too.
    """
    found = load(invocation.configuration(configfiles, changes), configfiles)
    kept = {"results": reference.as_posix(), "domains_folder": (reference / DOMAINS).as_posix()}
    return found.model_dump(mode="json") | kept | {"mirror": None}


def domain_files(
    config: dict[str, Any], changes: Sequence[str] = (), configfiles: Sequence[Path] = ()
) -> dict[str, str]:
    """What the domains of a configuration are: files that are kept with its results."""
    folder = invocation.configuration(configfiles, changes).get("domains_folder", "config/domains")
    names = [*config["domains"], *config["tables"]["near"].values()]
    return {
        f"{DOMAINS}/{name}.yaml": (PROJECT / folder / f"{name}.yaml").read_text(encoding="utf-8")
        for name in dict.fromkeys(names)
    }


def small(results: Path) -> list[Path]:
    """The small results of a folder, and of other seeds in it. A record of training or compression
    goes with its checkpoint; that of an epoch stays."""
    folders = [(results, SMALL), *((one, POOLED) for one in seed_folders(results))]
    named = (path for folder, kinds in folders for kind in kinds for path in folder.glob(kind))
    found = [path for path in named if path.is_file()]
    gone = ("training.json", "compression.json")
    return [p for p in found if p.name not in gone or p.with_name(files.MANIFEST).is_file()]


def collect(
    results: Path,
    reference: Path,
    config: dict[str, Any],
    domains: Mapping[str, str] = MappingProxyType({}),
    add: bool = False,
) -> int:
    """Copy small results; the old reference stays until the new one is whole. Returns a count.

    Args:
        domains: texts of the domain's files, by name.
        add: keep what is there already, if it is of the same configuration and domains; under
            which seeds either was made may differ.
    """
    if not (found := small(results)):
        raise UserError(f"{results} holds no results; run `snakemake --cores all all` first")
    before, shared = [], []
    if add and (reference / CONFIG).is_file():
        kept = {n: (reference / n).read_text("utf-8") for n in domains if (reference / n).is_file()}
        there, here = made_by(resolved(reference / CONFIG)), made_by(portable(config))
        other = [
            f"{key}: {there.get(key)} there, {here.get(key)} here"
            for key in {**there, **here}
            if there.get(key) != here.get(key)
        ]
        other += [name for name, text in kept.items() if not _read_alike(text, domains[name])]
        if other:
            raise UserError(
                f"{reference} keeps results of another configuration ({', '.join(other[:4])}); "
                "leave out --add to replace them"
            )
        checks.verify_reference(reference)
        named = files.verify_manifest(reference)["files"].keys() - {CONFIG, *domains}
        mine = {path.relative_to(results).as_posix() for path in found}
        before = [reference / name for name in sorted(named - mine) if not _of_epoch(name, mine)]
        shared = [reference / name for name in sorted(named & mine)]
    with files.scratch(reference) as temporary:
        for folder, paths in ((results, found), (reference, before)):
            for path in paths:
                copy = temporary / path.relative_to(folder)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, copy)
        for path in shared:
            _keep_beside(path, temporary / path.relative_to(reference))
        seeds = [(reference / one.name).as_posix() for one in seed_folders(temporary)]
        text = "# Configuration of the run whose small results are kept here.\n"
        text += yaml.safe_dump(portable(config | {REPLICATES: seeds}), sort_keys=False)
        for name, content in {CONFIG: text, **domains}.items():
            files.write_text(temporary / name, content)
        files.write_manifest(temporary)
        files.publish(temporary, reference)
    return len(found) + len(before)


def _of_epoch(name: str, part: set[str]) -> bool:
    """Whether a file lies beside the record of an epoch that a part has made anew: what was kept
    there, the manifest of weights that stayed, is of the epoch before."""
    return Path(name).with_name("epoch.json").as_posix() in part


def _keep_beside(kept: Path, new: Path) -> None:
    """Keep the manifest of a checkpoint that another part of the run made too, its model byte by
    byte the same: its results name it (see `is_manifest_of`)."""
    if kept.name != files.MANIFEST or (sha256 := files.sha256_of(kept)) == files.sha256_of(new):
        return
    if lineage.model_of(kept) == lineage.model_of(new):
        shutil.copyfile(kept, new.with_stem(f"{new.stem}-{sha256[:8]}"))


def made_by(config: Mapping[str, Any]) -> dict[str, Any]:
    """Key and value of what a configuration's results are made by: not under which other seeds, nor
    how jobs are run but for their type, how many rounds are timed, nor recipes that are not."""
    recipes = {name: config["recipes"][name] for name in config["trim"]["recipes"]}
    found = keys_of({**config, "recipes": recipes, REPLICATES: []})
    left_out = "compute.", "throughput.repeats", "engines.repeats"
    return {k: value for k, value in found if k == "compute.dtype" or not k.startswith(left_out)}


def _read_alike(one: str, other: str) -> bool:
    """Whether two texts of a domain's file make the same documents."""
    first, second = (read_by(yaml.safe_load(text)) for text in (one, other))
    return first == second


def resolved(path: Path) -> dict[str, Any]:
    """A kept configuration with the defaults of keys that came later, as the workflow reads it."""
    found = validated(Config, read_yaml(path), lambda key, value: str(path))
    return found.model_dump(mode="json")


def portable(config: dict[str, Any]) -> dict[str, Any]:
    """Files of the project by their place in it: another clone lies elsewhere."""
    return yaml.safe_load(yaml.safe_dump(config, sort_keys=False).replace(f"{PROJECT}/", ""))


def run(
    results: Path, reference: Path, changes: list[str], configfiles: list[Path], add: bool
) -> int:
    """Keep them."""
    config = configuration(changes, reference, configfiles)
    domains = domain_files(config, changes, configfiles)
    print(f"{collect(results, reference, config, domains, add)} files in {reference}")
    return 0
