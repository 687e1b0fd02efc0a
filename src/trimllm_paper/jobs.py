"""Every kind of job: what it reads, what it depends on beside, and which of its files tell.

A kind is a method of `Jobs`, by the wildcards of its rule. The rules take inputs and parameters
from it; every result carries the hash of what its job depends on, and what lies there is compared
with what the configuration would make (`integrity.lineage`).
"""

from __future__ import annotations

from typing import Any

from trimllm.base.names import ANSWER_CRITERION
from trimllm.compress.methods import EXTERNAL, METHODS
from trimllm.exporting.formats import QUANTIZED, require_engine, split_variant
from trimllm_paper.config.models import RecipeEntry
from trimllm_paper.engine_jobs import EngineJobs
from trimllm_paper.integrity.codehash import code_hash
from trimllm_paper.integrity.lineage import Job
from trimllm_paper.prepared import Files
from trimllm_paper.recipe import (
    FULL_FT,
    PRETRAINED,
    SPARSE_FT,
    Recipe,
    by_every_token,
    taught,
)
from trimllm_paper.shapes import RANDOM, SYMMETRIC, pattern_units

FINE_TUNE, TRIM_EPOCH = "trimllm.train:fine_tune", "trimllm.trimming:trim_epoch"
PASSES = ("epochs", "documents", "patience")
"""Keys of `finetune` that say how long it goes on."""
FINE_TUNE_CRITERION = "both"
"""By which the blocks of Sparse-FT, and those that are left by a rule, are chosen; of free answers
`ANSWER_CRITERION` takes its place."""


class Jobs(EngineJobs):
    """The jobs of a configuration."""

    # ---- checkpoints ---------------------------------------------------------------------------

    def scan(self, model: str, domain: str) -> Job:
        """The scan of the untrained model."""
        how = {
            "documents": self.config.trim.calibration_documents,
            "row_budget": self.config.trim.row_budget,
            "dtype": self.config.compute.dtype,
            "seed": self.config.seed,
            "loading": self._loading(model),
            "code": code_hash("scan", *self._own(model)),
        }
        files = self.checkpoint(model, "base", PRETRAINED) | self._scanned(domain)
        return Job([self.paths.scan(model, domain)], files, how)

    def _training(
        self,
        place: tuple[str, str, Recipe],
        recipe: str,
        arguments: dict[str, Any],
        files: Files,
        entry: RecipeEntry | None = None,
        schedule: str = "epoch",
        rate: float | None = None,
    ) -> Job:
        """A job of training: `package.module:name` of a recipe with its arguments.

        Args:
            entry: the chain it belongs to, whose teacher it listens to.
            rate: peak learning rate of a recipe that has one of its own.
        """
        model, domain, made = place
        if teacher := entry and entry.teacher:
            files["teacher"] = self.paths.teacher(model, domain)
        config, paths = self.config, self.paths
        keys = ["batch_size", "gradient_accumulation", "optimizer", "weight_decay", "clip"]
        keys += ["train_embeddings"]
        how = {
            "recipe": recipe,
            "arguments": arguments,
            "chain": self._chain(made),
            "settings": {
                "learning_rate": rate or config.models[model].learning_rate,
                **{key: getattr(config.finetune, key) for key in keys},
                **(teacher.model_dump() if teacher else {}),
                "schedule": schedule,
                "seed": config.seed,
                "dtype": config.compute.dtype,
            },
            "loading": self._loading(model),
            "exact": made.stage == "state" and entry is not None and entry.state == "float32",
            "code": code_hash("train", *self._own(model, arguments.get("criterion", ""))),
        }
        if entry and entry.pool:
            how["pool"] = entry.pool
        files["held_back"] = self.splits(domain)["held_back"]
        record = paths.epoch if recipe == TRIM_EPOCH else paths.training
        return Job([paths.manifest(*place), record(*place)], files | self._trained_on(domain), how)

    def full_ft(self, model: str, domain: str) -> Job:
        """Full fine-tuning, or LoRA in its place, with a learning rate of its own."""
        files, lora = self.checkpoint(model, "base", PRETRAINED), self.config.finetune.lora
        job = self._fine_tune((model, domain, Recipe(FULL_FT)), None, files)
        if lora:
            told = lora.model_dump()
            job.how["settings"]["learning_rate"] = told.pop("learning_rate")
            job.how["arguments"]["lora"] = told
        return job

    def sparse_ft(self, model: str, domain: str) -> Job:
        """Sparse fine-tuning: a scan chooses the blocks. Both see the same documents in order."""
        files = self.checkpoint(model, "base", PRETRAINED)
        files["scan"] = self.paths.scan(model, domain)
        return self._fine_tune((model, domain, Recipe(SPARSE_FT)), self.config.main.ratio, files)

    def _fine_tune(self, place: tuple[str, str, Recipe], ratio: float | None, files: Files) -> Job:
        arguments = {**self._passes(), "ratio": ratio, "criterion": self._criterion(place[1])}
        return self._training(place, FINE_TUNE, arguments, files)

    def _criterion(self, domain: str) -> str:
        """By what blocks are chosen outside of chains."""
        free = self.config.domain_specs[domain].calibrated_freely
        return ANSWER_CRITERION if free else FINE_TUNE_CRITERION

    def _passes(self) -> dict[str, Any]:
        """How long fine-tuning goes on, and on how much: the same for all that tables compare."""
        return {key: getattr(self.config.finetune, key) for key in PASSES}

    def teacher(self, model: str, domain: str) -> Job:
        """What the fully fine-tuned model says of the training documents that chains come to."""
        how = {
            "every_token": by_every_token(self.config),
            "documents": taught(self.config, self.config.models[model].units),
            "seed": self.config.seed,
            "dtype": self.config.compute.dtype,
            "loading": self._loading(model),
            "code": code_hash("train", *self._own(model)),
        }
        files = self.checkpoint(model, domain, FULL_FT) | self._trained_on(domain)
        return Job([], files, how)

    def at_once(self, model: str, domain: str, by: str, drop: str) -> Job:
        """A dropping by rule, trained at most as long as the main chain takes to as many drops,
        and by its rate."""
        arguments = {
            "rule": by,
            "dropped": int(drop),
            "patience": self.config.finetune.patience,
            "epochs": 1 + -(-int(drop) // self.config.main.step),
            "documents": self.config.trim.documents,
            "ratio": self.config.main.ratio,
            "criterion": self._criterion(domain),
        }
        files = self.checkpoint(model, "base", PRETRAINED)
        files["scan"] = self.paths.scan(model, domain)
        place, rate = (model, domain, Recipe("trim", by, drop)), self.config.main.learning_rate
        return self._training(place, FINE_TUNE, arguments, files, rate=rate)

    def epoch(self, model: str, domain: str, name: str, drop: str) -> Job:
        """An epoch of a chain, from the state before and that epoch's record to the next state."""
        entry, trim, step = self.chains[name], self.config.trim, self.chains[name].step
        arguments = {
            "criterion": entry.criterion,
            "ratio": entry.ratio,
            "step": step,
            # Only this decay has to know where the chain ends.
            "until": self.end(model, name) if entry.schedule == "chain" else max(int(drop), step),
            "start": int(drop) // step,
            "documents": trim.documents if entry.train else 0,
            "scans": {
                "documents": trim.calibration_documents,
                "resample": entry.resample,
                "row_budget": trim.row_budget,
            },
        }
        if int(drop) > 0:
            units = self.config.models[model].units
            before = Recipe.trimmed(name, int(drop) - step, units)
            files = self.checkpoint(model, domain, before.state)
            files["epoch"] = self.paths.epoch(model, domain, before)
        elif entry.start == PRETRAINED:
            files = self.checkpoint(model, "base", PRETRAINED)
            files["scan"] = self.paths.scan(model, domain)
        else:
            files = self.checkpoint(model, domain, entry.start)
        files |= self._scanned(domain)
        place, rate = (model, domain, Recipe("trim", name, drop).state), entry.learning_rate
        return self._training(place, TRIM_EPOCH, arguments, files, entry, entry.schedule, rate)

    def settled(self, model: str, domain: str, name: str, drop: str) -> Job:
        """A checkpoint of a chain that is evaluated: its state, settled and rounded once."""
        entry, recipe = self.chains[name], Recipe("trim", name, drop)
        files = self.checkpoint(model, domain, recipe.state)
        files["epoch"] = self.paths.epoch(model, domain, recipe)
        # What settles was trained before, between drops.
        arguments = {**self._passes(), "epochs": entry.settle, "least": 1, "ratio": entry.ratio}
        place, rate = (model, domain, recipe), entry.learning_rate
        return self._training(place, FINE_TUNE, arguments, files, entry, rate=rate)

    def past_the_end(self, model: str, name: str, drop: str) -> str | None:
        """Why a checkpoint is no epoch of its chain, in words; None where it is one."""
        step, end = self.chains[name].step, self.end(model, name)
        if int(drop) > end:
            return (
                f"chains of {model} with {step} drops an epoch end at {end}, and drop_{drop} was "
                "asked for; keep fewer units here, for the learning rate decays over all epochs"
            )
        if Recipe("trim", name, drop) != Recipe.trimmed(
            name, int(drop) // step * step, self.config.models[model].units
        ):
            return f"no epoch of chain {name} ends at drop_{drop}: it drops {step} units an epoch"
        return None

    def compression(self, model: str, domain: str, dense: str, compressor: str) -> Job:
        """A compressed checkpoint. A foreign engine's Python is told by a file."""
        config, keys = self.config.compress, METHODS[compressor].settings
        engine = config.engine(compressor)
        how = {
            "engine": engine,
            "chain": self._chain(Recipe.parse(dense)),
            "calibration": config.calibration_documents,
            "held_back": config.held_back_documents,
            "settings": {key: getattr(config, key) for key in keys} | {"seed": self.config.seed},
            "loading": self._loading(model),
            "code": code_hash("compress", f"trimllm.compress.{compressor}", *self._own(model)),
        }
        files = self.checkpoint(model, domain, dense) | self._trained_on(domain)
        # What a checkpoint proves itself on was never trained or calibrated on, nor is it reported.
        files["held_back"] = self.splits(domain)["held_back"]
        if engine in EXTERNAL:
            files["engine"] = self.engine_file(EXTERNAL[engine])
        place = model, domain, Recipe.parse(dense).compressed(compressor)
        return Job([self.paths.manifest(*place), self.paths.compression(*place)], files, how)

    def engine_file(self, environment: str) -> str:
        """Where the Python of an engine with an environment of its own is told."""
        return f"{self.paths.results}/engines/{environment}.txt"

    def export(self, model: str, domain: str, recipe: str, format: str) -> Job:
        """A checkpoint as an engine reads it, proven on documents that nobody trains on. What
        rounding may lose is measured by the fine-tuned model with all its units.

        Raises `UserError` for a format that is none, or whose engine is not installed.
        """
        kind = split_variant(format)[1]
        require_engine(format)
        entry = self.config.models[model]
        how = {
            "chain": self._chain(Recipe.parse(recipe)),
            "documents": self.config.export.documents,
            "card": {
                "name": f"{entry.label}, {self.config.tested[domain].label}, {recipe}",
                "base_model": entry.base_model or getattr(entry.source, "hub", None),
                "base_label": entry.label,
                "license": entry.license,
            },
            "seed": self.config.seed,
            "loading": self._loading(model),
            "code": code_hash("export", *self._own(model)),
        }
        files = self.checkpoint(model, domain, recipe) | self._scanned(domain)
        if kind in QUANTIZED and not Recipe.parse(recipe).compressor:
            full = self.checkpoint(model, domain, FULL_FT)
            files |= {"full": full["manifest"], "full_weights": full["weights"]}
        if self.config.own:  # what its card tells of it
            files["measured"] = self._measured(model, recipe)
        place = model, domain, recipe, format
        made = [self.paths.export(*place, "manifest.json"), self.paths.export(*place)]
        return Job(made, files, how)

    # ---- one's own data ------------------------------------------------------------------------

    @property
    def own_domain(self) -> str:
        """The domain of a run on one's own data: the only one."""
        return self.config.domains[0]

    def _measured(self, model: str, recipe: str) -> list[str]:
        """Records of what a chosen checkpoint and the full ones say, of tests and of other text."""
        compared = dict.fromkeys([PRETRAINED, FULL_FT, recipe])
        tests = self.config.tested[self.own_domain].tests
        place = model, self.own_domain
        return [self.paths.answers(model, one) for one in compared] + [
            self.paths.evaluation(*place, one, task) for one in compared for task in tests
        ]

    def answers(self, model: str, recipe: str) -> Job:
        """What a checkpoint says of a few held-back documents and of neutral text."""
        domain = self.own_domain
        how = {
            "chain": self._chain(Recipe.parse(recipe)),
            "domain": domain,
            "dtype": self.config.compute.dtype,
            "seed": self.config.seed,
            "loading": self._loading(model),
            "code": code_hash("answers", *self._own(model)),
        }
        files = self.checkpoint(model, domain, recipe)
        files |= {"held_back": self.splits(domain)["held_back"], "report": self.paths.data(domain)}
        return Job([self.paths.answers(model, recipe)], files, how)

    def choice(self, hardware: str, model: str) -> Job:
        """Which checkpoint is taken; no test document is an input."""
        own, domain, kept = self.config.own, self.own_domain, self.kept_recipes(model)
        recipes: list[Recipe | str] = [FULL_FT, *kept]
        how = {
            "domain": domain,
            "hardware": hardware,
            "format": own.export if own else None,
            "wanted": own.wanted if own else None,
            "seed": self.config.seed,
            "code": code_hash("choose"),
        }
        files = {
            "trainings": [self.paths.training(model, domain, one) for one in recipes],
            "weights": [self.paths.weights(model, domain, one) for one in recipes],
            "epochs": [self.paths.epoch(model, domain, one) for one in kept],
            "timings": [self.paths.throughput(hardware, model, one) for one in kept],
        }
        return Job([self.paths.chosen(model)], files, how)

    # ---- measurements --------------------------------------------------------------------------

    def evaluation(self, model: str, domain: str, recipe: str, tested: str) -> Job:
        """Answers of a checkpoint to all tests of a domain; the full model for its bytes."""
        config, spec = self.config, self.config.tested[tested]
        how = {
            "chain": self._chain(Recipe.parse(recipe)),
            "tested": tested,
            "tasks": list(spec.tests),
            "stand_in": spec.stand_in,
            "units_total": config.models[model].units,
            "batch_tokens": config.evaluate.batch_tokens,
            "generated": (
                {"answer_tokens": config.evaluate.answer_tokens} if spec.tested_freely else {}
            ),
            "dtype": config.compute.dtype,
            "seed": config.seed,
            "loading": self._loading(model),
            "code": code_hash("evaluate", *self._own(model)),
        }
        files = self.checkpoint(model, domain, recipe) | {
            "base": self.paths.manifest(model, "base", PRETRAINED),
            "report": self.paths.data(tested),
            "tests": self.tests(tested),
        }
        made = [self.paths.evaluation(model, domain, recipe, task) for task in spec.tests]
        return Job(made, files, how)

    def _symmetric(self, recipe: str) -> bool:
        """Whether checkpoints of a recipe have int4 weights without zero codes of their own."""
        compressor = Recipe.parse(recipe).compressor
        return getattr(self.config.compress.engines, compressor or "", None) in SYMMETRIC

    def throughput(self, hardware: str, model: str, recipe: str) -> Job:
        """A measurement of a checkpoint beside the full one, or of a shape with random weights."""
        section, config = self.config.throughput, self.config
        shape = model.removeprefix(RANDOM) if model.startswith(RANDOM) else None
        domain, name = self.timed_domain, Recipe.parse(recipe).name or ""
        pattern = section.patterns.get(name)
        how = {
            "chain": {} if shape else self._chain(Recipe.parse(recipe)),
            "subject": {
                "dtype": section.dtype,
                "device": self.device,
                "threads": section.threads,
                "group_size": section.group_size,
                # A kernel of its own on a GPU: what is timed is what accuracy is measured of.
                **({"symmetric": True} if shape and self._symmetric(recipe) else {}),
            },
            "protocol": {
                "prompt": section.tokens - section.generate,
                "generate": section.generate,
                "repeats": section.repeats,
            },
            "compiled": section.compiled,
            "shape": shape,
            "patterns": {name: pattern} if shape and pattern is not None else {},
            "domain": None if shape else domain,
            "label": None if shape else config.models[model].label,
            "loading": None if shape else self._loading(model),
            "seed": config.seed,
            "code": code_hash("throughput", *self._own(model)),
        }
        if shape:
            files: dict[str, str | list[str]] = {}
            if isinstance(pattern, str):  # a chain of a kept run: what it dropped counts
                how["order"] = [list(unit) for unit in pattern_units(pattern).order]
        else:
            full = self.checkpoint(model, domain, FULL_FT)
            files = self.checkpoint(model, domain, recipe)
            files |= {"full": full["manifest"], "full_weights": full["weights"]}
        return Job([self.paths.throughput(hardware, model, recipe)], files, how)
