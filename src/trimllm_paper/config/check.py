"""What a configuration must be beyond its models: names that exist, chains that reach."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from trimllm import compress
from trimllm.base import names
from trimllm.base.errors import UserError
from trimllm.base.kept import drops_for
from trimllm.base.names import GGUF_FAMILIES
from trimllm.throughput.shapes import SHAPES, kept_units
from trimllm_paper import recipe
from trimllm_paper.config.domain import Problem
from trimllm_paper.config.models import Config, DirectorySource, HubSource, Model, WheelSource
from trimllm_paper.config.parts import number
from trimllm_paper.shapes import pattern_units


def problems(config: Config) -> Iterator[Problem]:
    """Everything that is wrong with a configuration whose domains are read."""
    if config.mirror is not None and not Path(config.mirror).is_dir():
        yield ["mirror"], config.mirror, "no such folder"
    for index, folder in enumerate(config.replicates):
        if not Path(folder).is_dir():
            yield ["replicates", index], folder, "no such folder; run that seed first"
    if config.own and config.finetune.lora:
        problem = "`own` asks for shares of full fine-tuning, which LoRA is not; leave one out"
        yield ["finetune", "lora"], config.finetune.lora.model_dump(), problem
    if config.own and len(config.domains) > 1:
        yield ["domains"], config.domains, "`own` chooses a model for one domain; leave one of them"
    yield from _exported(config)
    yield from _recipes(config)
    yield from _criteria(config)
    yield from _generation(config)
    yield from _throughput(config)
    for index, method in enumerate(config.compress.methods):
        if gone := compress.missing_package(method, getattr(config.compress.engines, method)):
            at = ["compress", "methods", index]
            yield at, method, f"needs package {gone}, which is not installed; run `make setup`"
    pool, asked = config.trim.calibration_pool, config.trim.calibration_documents
    if pool < asked:
        problem = f"fewer than trim.calibration_documents = {asked}, which scans take of it"
        yield ["trim", "calibration_pool"], pool, problem
    told, batch = config.compute.processes, config.finetune.batch_size
    for task, count in (told if isinstance(told, dict) else {"": told or 1}).items():
        if count > batch:
            problem = f"more than finetune.batch_size = {batch}: a process without a document idles"
            yield [*("compute", "processes"), *filter(None, [task])], count, problem
        alone = {
            "finetune.optimizer = adamw_8bit": config.finetune.optimizer == "adamw_8bit",
            "finetune.lora": config.finetune.lora and task in ("", "full_ft"),
        }
        for what in (what for what, told in alone.items() if told and count > 1):
            problem = f"{what} trains in one process"
            yield [*("compute", "processes"), *filter(None, [task])], count, problem
    if config.finetune.lora and config.finetune.train_embeddings:
        problem = "finetune.lora trains adapters alone; leave one of them out"
        yield ["finetune", "train_embeddings"], True, problem
    for name, model in config.models.items():
        yield from _source(name, model, config)
        yield from _kept(name, model, config)
    yield from _tables(config)


def _exported(config: Config) -> Iterator[Problem]:
    """Models that cannot be had in the format that is asked for."""
    if config.own is None:
        return
    for name, model in config.models.items():
        known = ":" in model.family or model.family in GGUF_FAMILIES
        if config.own.export.startswith("gguf") and not known:
            problem = f"llama.cpp runs no trimmed {model.family} ({name}); take padded"
            yield ["own", "export"], config.own.export, problem


def listed(known: Iterable[str]) -> str:
    """Names that there are, in words."""
    return f"there are: {', '.join(sorted(known)) or 'none'}"


def _absent(
    at: Sequence[Any], names: Iterable[str] | None, known: Collection[str], of: str
) -> Iterator[Problem]:
    """Names of a list that are not among those of a section."""
    for index, name in enumerate(names or ()):
        if name not in known:
            yield [*at, index], name, f"not among `{of}` ({listed(known)})"


def _recipes(config: Config) -> Iterator[Problem]:
    """Names of recipes that mean something else, or nothing."""
    # A rate of its own that every model has is none.
    every, none = {one.learning_rate for one in config.models.values()}, {"learning_rate": None}
    recipes = {
        name: entry.model_copy(update=none if {entry.learning_rate} == every else {})
        for name, entry in config.recipes.items()
    }
    yield from _absent(["trim", "recipes"], config.trim.recipes, recipes, "recipes")
    main = recipes[config.trim.recipes[0]]
    for name, entry in recipes.items():
        own = recipe.variant_name({}, entry, entry.criterion, entry.ratio)
        derived = number(name.rpartition("_r")[2]) is not None
        problem = None
        if name in names.RULES:
            problem = "a reserved name; call the recipe otherwise"
        elif derived and (name, entry.step) != (own, main.step):
            problem = "a name that Tables 3 and 6 give to a chain with other keys"
            problem += "; call the recipe otherwise"
        elif (first := recipe.variant_name(recipes, entry, entry.criterion, entry.ratio)) != name:
            problem = f"the same chain as recipes.{first}"
        if problem:
            yield ["recipes", name], dict(config.recipes[name]), problem
    for index, criterion in enumerate(config.tables.criteria):
        for ratio in config.tables.ratios:
            name = recipe.variant_name(recipes, main, criterion, ratio)
            if not re.fullmatch(recipe.NAME, name):
                problem = f"its chain with ratio {ratio:g} must be an entry of `recipes`"
                yield ["tables", "criteria", index], criterion, problem


def _criteria(config: Config) -> Iterator[Problem]:
    """Criteria of main chains that cannot look at what a domain calibrates on."""
    ours = names.ANSWER_CRITERION
    of_choices = {*names.PAPER_CRITERIA, "likelihood"} - {*names.FREE_CRITERIA}
    refused = {
        True: (of_choices, f"has free answers, none of which is right; take {ours} there"),
        False: ({ours}, "has choices; take likelihood there"),
    }
    for name in config.trim.recipes:
        criterion = getattr(config.recipes.get(name), "criterion", "")
        for domain, spec in config.domain_specs.items():
            unfit, problem = refused[spec.calibrated_freely]
            if criterion in unfit:
                told = f"cannot be calibrated on domain {domain}, which {problem}"
                yield ["recipes", name, "criterion"], criterion, told


def _generation(config: Config) -> Iterator[Problem]:
    """Free answers are generated by whole models."""
    place, at = config.compute.weights_on, ["compute", "weights_on"]
    for domain, spec in config.tested.items():
        for name, test in spec.tests.items():
            if place != "device" and spec.free(getattr(test, "set", "")):
                problem = f"test {name} of domain {domain} has free answers, which are generated"
                yield at, place, f"{problem} by a model whose weights are all on the device"


def _throughput(config: Config) -> Iterator[Problem]:
    section, at = config.throughput, ["throughput"]
    if section.domain not in (None, *config.domains):
        problem = f"not among `domains` ({listed(config.domains)})"
        yield [*at, "domain"], section.domain, problem
    for name in section.composed:
        if name not in section.compressors:
            yield [*at, "composed"], section.composed, f"{name} is not among `compressors`"
    if section.generate >= section.tokens:
        problem = f"no prompt is left of throughput.tokens = {section.tokens}"
        yield [*at, "generate"], section.generate, problem
    for index, kept in enumerate(config.engines.kept_percent or ()):
        if kept not in config.trim.kept_percent:
            yield ["engines", "kept_percent", index], kept, "not among trim.kept_percent"
    for name, pattern in section.patterns.items():
        try:
            dropped = pattern_units(pattern) if isinstance(pattern, str) else pattern
        except UserError as error:
            problem = f"{error}; looked for in the working directory, then in the project"
            yield [*at, "patterns", name], pattern, problem
            continue
        for shape in section.shapes:
            for index, kept in enumerate(section.kept_percent):
                try:
                    kept_units(SHAPES[shape]["num_hidden_layers"], kept, dropped)
                except UserError as error:
                    yield [*at, "kept_percent", index], kept, f"{error} (pattern {name})"


def _source(name: str, model: Model, config: Config) -> Iterator[Problem]:
    """What is wrong with a model's source."""
    source, at = model.source, ["models", name]
    for index, wheel in enumerate(model.wheels):
        if wheel not in config.wheels:
            one = isinstance(source, WheelSource)
            place = ["wheel"] if one else ["wheels", index, "wheel"]
            problem = f"not among `wheels` ({listed(config.wheels)})"
            yield [*at, "source", *place], wheel, problem
    if isinstance(source, HubSource) and source.revision is None:
        problem = (
            "not pinned, and branches move: read the newest commit of "
            f"https://huggingface.co/{source.hub}/commits/main and write its 40 digits here"
        )
        yield [*at, "source", "revision"], None, problem
    if not isinstance(source, DirectorySource):
        return
    file = Path(source.directory) / "config.json"
    try:
        stored = dict(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        problem = "no checkpoint: config.json is missing or no JSON"
        yield [*at, "source", "directory"], source.directory, problem
        return
    family = stored.get("model_type")
    if ":" not in model.family and str(family).removeprefix("trimllm_") != model.family:
        yield [*at, "family"], model.family, f"{file} says model_type {family!r}"
    blocks = stored.get("num_hidden_layers", model.blocks)
    if blocks != model.blocks:
        yield [*at, "blocks"], model.blocks, f"{file} says num_hidden_layers {blocks}"


def _kept(name: str, model: Model, config: Config) -> Iterator[Problem]:
    """Kept fractions that a chain of a model does not meet."""
    units = model.units
    for entry in config.trim.recipes:
        step = config.recipes[entry].step
        for index, kept in enumerate(config.trim.kept_percent):
            if drops_for(kept, units, step) is None:
                epochs = math.floor(units * (1 - kept / 100) / step)
                near = [e * step for e in (epochs, epochs + 1) if e * step < units]
                offers = ", ".join(f"{100 * (units - d) / units:.4g} ({d} drops)" for d in near)
                chain = f"{name} ({units} units) with recipes.{entry}.step = {step}"
                problem = f"not reachable for {chain}; nearest: {offers}"
                yield ["trim", "kept_percent", index], kept, problem


def _tables(config: Config) -> Iterator[Problem]:
    """What names nothing or cannot be reached by the chains of Tables 3 to 6."""
    tables, at = config.tables, ["tables"]
    yield from _absent([*at, "domains"], tables.domains, config.domains, "domains")
    yield from _absent([*at, "models"], tables.models, config.models, "models")
    for domain, near in tables.near.items():
        if domain not in config.domains:
            yield [*at, "near", domain], near, f"{domain} is not among `domains`"
    kept, step, deepest = config.trim.kept_percent, config.main.step, tables.smallest_percent
    for name in config.models if tables.models is None else tables.models:
        units = config.models[name].units
        chain = max(drops_for(one, units, step) or 0 for one in kept)
        reached = 0 if deepest is None else drops_for(deepest, units, step)
        if reached is None or reached > chain:
            drops = f"its chain drops {step} units an epoch, {chain} in all"
            yield [*at, "smallest_percent"], deepest, f"no checkpoint of {name}: {drops}"
    if tables.cross_percent not in (None, *kept):
        yield [*at, "cross_percent"], tables.cross_percent, "not among trim.kept_percent"
