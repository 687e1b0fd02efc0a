"""Every kind of job: the files it reads, what else its result depends on, the files it makes.

A kind is a function of `training` or `measuring`, named as its rule and called with its wildcards:
`Jobs(config).of(training.scan, model="llama-7b", domain="sciq")`.
"""

import os
from collections.abc import Callable
from functools import cache
from typing import Any

from trimllm.base.kept import drops_for
from trimllm.base.names import RULES
from trimllm_paper.config.models import Config
from trimllm_paper.gpus import uses_gpu
from trimllm_paper.integrity.codehash import code_hash
from trimllm_paper.integrity.lineage import Job
from trimllm_paper.recipe import PRETRAINED, Paths, Recipe, chains, end_of

Files = dict[str, Any]  # by name of an input: its file or files


class Jobs:
    """A configuration, and what its kinds of jobs share."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.paths = Paths(os.path.normpath(config.results))
        self.device = "cuda" if uses_gpu(config) else "cpu"
        self.chains = chains(config)  # that a target may need, by name
        self.own_domain = config.domains[0]  # the only one of a run on one's own data
        self.timed_domain = config.throughput.domain or config.domains[0]
        # (kind, wildcards) -> its job
        self.of: Callable[..., Job] = cache(lambda kind, **wildcards: kind(self, **wildcards))

    def end(self, model: str, name: str) -> int:
        """Drops of a whole chain: the fewest sublayers that are kept anywhere."""
        return end_of(self.config, self.chains[name], self.config.models[model].units)

    def recipes(self, model: str, name: str, kept_percent: list[float]) -> list[Recipe]:
        """Checkpoints of a chain by percent of the sublayers that are kept, most first."""
        units, step = self.config.models[model].units, self.chains[name].step
        drops = {drops_for(percent, units, step) or 0 for percent in kept_percent}
        return [Recipe.trimmed(name, dropped, units) for dropped in sorted(drops)]

    def kept_recipes(self, model: str) -> list[Recipe]:
        """Checkpoints of the main tables' chains that are evaluated and keep their weights."""
        names, percents = self.config.trim.recipes, self.config.trim.kept_percent
        return [one for name in names for one in self.recipes(model, name, percents)]

    def chain_of(self, recipe: Recipe | str) -> dict[str, Any]:
        """Criterion, ratio and step of a recipe, as its records carry them."""
        recipe = Recipe.parse(str(recipe))
        if recipe.name in RULES:
            main = self.config.main
            return {"criterion": recipe.name, "ratio": main.ratio, "step": recipe.dropped}
        entry = self.chains.get(recipe.name or "")
        return {key: getattr(entry, key, None) for key in ("criterion", "ratio", "step")}

    def checkpoint(self, model: str, domain: str, recipe: Recipe | str = PRETRAINED) -> Files:
        """Files of a checkpoint that is read."""
        place = model, domain, recipe
        return {"manifest": self.paths.manifest(*place), "weights": self.paths.weights(*place)}

    def splits(self, domain: str) -> dict[str, str]:
        """Training, calibration and held-back documents; none of a domain that is only tested."""
        names = ("train", "calibration", "held_back") if domain in self.config.domain_specs else ()
        return {name: self.paths.data(domain, f"{name}.jsonl") for name in names}

    def documents(self, domain: str, *names: str) -> Files:
        """Some of these, and the report with the hash of each."""
        splits = self.splits(domain)
        return {name: splits[name] for name in names} | {"report": self.paths.data(domain)}

    def tests(self, domain: str) -> list[str]:
        """Test documents of a domain, one file a task."""
        return [self.paths.tests(domain, task) for task in self.config.tested[domain].tests]

    def code(self, stage: str, model: str = "", criterion: str = "") -> str:
        """Hash of a stage's code, with the family and the criterion of the user's own."""
        entry = self.config.models.get(model)  # none for a shape with random weights
        names = (entry.family if entry else "", criterion)
        return code_hash(stage, *(name for name in names if ":" in name))

    def loading(self, model: str) -> dict[str, Any]:
        """How checkpoints of a model are read and stored."""
        keys = {"storage_dtype", "trust_remote_code"}
        return {"device": self.device, **self.config.models[model].model_dump(include=keys)}

    def forward(self, stage: str, model: str) -> dict[str, Any]:
        """Parameters of every job that runs a model without training it."""
        return {
            "dtype": self.config.compute.dtype,
            "seed": self.config.seed,
            "loading": self.loading(model),
            "code": self.code(stage, model),
        }
