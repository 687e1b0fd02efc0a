"""Checks across sections, domain files and folders; `load` runs them after the models' own."""

import math
import re
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from trimllm.base import names
from trimllm.base.errors import UserError
from trimllm.base.kept import drops_for
from trimllm.compress.methods import require
from trimllm_paper import kept_runs, recipe
from trimllm_paper.config.domain import Problem
from trimllm_paper.config.models import Config
from trimllm_paper.config.parts import listed


def problems(config: Config) -> Iterator[Problem]:
    """Path and problem of everything that is wrong with a configuration whose domains are read."""
    trim, timed = config.trim, config.throughput
    named: list[tuple[list[Any], Iterable[Any], Collection[Any]]] = [
        (["trim", "recipes"], trim.recipes, config.recipes),
        (["tables", "models"], config.tables.models or (), config.models),
        (["engines", "kept_percent"], config.engines.kept_percent or (), trim.kept_percent),
        (["throughput", "domain"], [timed.domain or config.domains[0]], config.domains),
    ]
    for name, model in config.models.items():
        named.append((["models", name, "source"], model.wheels, config.wheels))
    for path, entries, known in named:
        for entry in entries:
            if entry not in known:
                yield path, f"no {entry!r} ({listed(known)})"
    for index, folder in enumerate(config.replicates):
        if not kept_runs.is_folder(folder):
            yield ["replicates", index], "no such folder; run that seed first"
    for index, method in enumerate(config.compress.methods):
        try:
            require(method, config.compress.engine(method))
        except UserError as error:
            yield ["compress", "methods", index], str(error)
    if trim.calibration_pool < trim.calibration_documents:
        least = f"trim.calibration_documents = {trim.calibration_documents}"
        yield ["trim", "calibration_pool"], f"must be at least {least}"
    if timed.generate >= timed.tokens:
        yield ["throughput", "generate"], f"must be less than throughput.tokens = {timed.tokens}"
    yield from _training(config)
    yield from _recipes(config)
    yield from _kept_percent(config)


def _training(config: Config) -> Iterator[Problem]:
    finetune, own = config.finetune, config.own
    processes, path = config.compute.processes or 1, ["compute", "processes"]
    if processes > finetune.batch_size:
        yield path, f"must be at most finetune.batch_size = {finetune.batch_size}"
    if processes > 1 and finetune.optimizer == "adamw_8bit":
        yield path, "finetune.optimizer = adamw_8bit trains in one process"
    if processes > 1 and finetune.lora:
        yield path, "finetune.lora trains in one process"
    if finetune.lora and finetune.train_embeddings:
        problem = "finetune.lora trains adapters only; remove one of the two keys"
        yield ["finetune", "train_embeddings"], problem
    if own and finetune.lora:
        yield ["finetune", "lora"], "`own` compares with full fine-tuning; remove one of the two"
    if own and len(config.domains) > 1:
        yield ["domains"], "`own` selects a model for one domain; keep one of them"
    for model in config.models.values() if own and own.export.startswith("gguf") else ():
        if ":" not in model.family and model.family not in names.GGUF_FAMILIES:
            yield ["own", "export"], f"llama.cpp cannot run a trimmed {model.family}; use padded"


def _recipes(config: Config) -> Iterator[Problem]:
    """Recipes whose names have another meaning, or whose criterion is unfit."""
    for name in config.recipes:
        if name in names.RULES or re.search(r"_r[0-9.]+$", name):
            yield ["recipes", name], "a reserved name (of Tables 3 and 6); rename the recipe"
    for name in recipe.chains(config):
        if not re.fullmatch(recipe.NAME, name):
            yield ["tables", "criteria"], f"the chain {name} must be an entry of `recipes`"
    for name in config.trim.recipes:
        path, criterion = ["recipes", name, "criterion"], config.recipes[name].criterion
        needs_choices = criterion in names.CRITERIA and criterion not in names.FREE_CRITERIA
        for domain, spec in config.domain_specs.items():
            unfit = f"cannot be calibrated on domain {domain}, which has"
            if spec.calibrated_freely and needs_choices:
                yield path, f"{unfit} free answers; use {names.ANSWER_CRITERION} there"
            if not spec.calibrated_freely and criterion == names.ANSWER_CRITERION:
                yield path, f"{unfit} choices; use likelihood there"


def _kept_percent(config: Config) -> Iterator[Problem]:
    """Kept fractions that a chain does not reach, since it drops several sublayers at once."""
    for name, model in config.models.items():
        units = model.units
        for entry in config.trim.recipes:
            step = config.recipes[entry].step
            for index, kept in enumerate(config.trim.kept_percent):
                if drops_for(kept, units, step) is not None:
                    continue
                drops = math.floor(units * (1 - kept / 100) / step) * step
                near = [100 * (units - d) / units for d in (drops, drops + step) if d < units]
                offers = " or ".join(f"{percent:.4g}" for percent in near)
                chain = f"{name} ({units} sublayers) with recipes.{entry}.step = {step}"
                problem = f"{kept:g}% is not reachable for {chain}; use {offers}"
                yield ["trim", "kept_percent", index], problem
