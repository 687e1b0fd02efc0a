"""Jobs that measure full and trimmed checkpoints in an engine: of which formats and recipes."""

from __future__ import annotations

from trimllm.base.errors import UserError
from trimllm.base.kept import drops_for
from trimllm.base.names import GGUF_FAMILIES
from trimllm.engines.formats import COMPRESSED, FORMATS, LLAMA, TRANSFORMERS, require
from trimllm_paper.integrity.codehash import code_hash
from trimllm_paper.integrity.lineage import Job
from trimllm_paper.prepared import Files, Prepared
from trimllm_paper.recipe import FULL_FT, Recipe


class EngineJobs(Prepared):
    """The part of `jobs.Jobs` that measures in engines."""

    @property
    def timed_domain(self) -> str:
        """The domain whose checkpoints are timed."""
        return self.config.throughput.domain or self.config.domains[0]

    def engine_formats(self, model: str) -> dict[str, list[str]]:
        """Engine -> formats of the configuration that it can have a model in."""
        family, made = str(self.config.models[model].family), {*self.config.compress.methods}
        found: dict[str, list[str]] = {}
        for name in self.config.engines.formats:
            in_llama = FORMATS[name] != LLAMA or ":" in family or family in GGUF_FAMILIES
            if in_llama and (name not in COMPRESSED or name in made):
                found.setdefault(FORMATS[name], []).append(name)
        return found

    def engine_recipes(self, model: str, format: str | None = None) -> list[Recipe]:
        """Full fine-tuning, and the main chain's checkpoints that are measured beside it: in a
        format those that keep its least percent of the units."""
        trim, units = self.config.trim, self.config.models[model].units
        name = trim.recipes[0]
        kept = self.config.engines.kept_percent or trim.kept_percent
        least = self.config.engines.least_percent.get(format or "", 0)
        drops = [drops_for(one, units, self.chains[name].step) or 0 for one in kept if one >= least]
        return [Recipe(FULL_FT), *(Recipe.trimmed(name, one, units) for one in drops)]

    def _loaded(self, model: str, recipe: Recipe, format: str) -> str:
        """The last file of what an engine loads."""
        place = model, self.timed_domain
        if format in COMPRESSED or format == TRANSFORMERS:
            compressor = format if format in COMPRESSED else None
            return self.paths.manifest(*place, recipe.compressed(compressor))
        return self.paths.export(*place, recipe, format, "manifest.json")

    def engines(self, hardware: str, model: str, engine: str) -> Job:
        """Full and trimmed checkpoints in one engine, in turn.

        Raises `UserError` for an engine that is not installed for the device, or runs none of the
        formats.
        """
        require(engine, self.device)
        section, domain = self.config.engines, self.timed_domain
        formats = self.engine_formats(model).get(engine, [])
        if not formats:
            raise UserError(f"none of engines.formats is {model} in {engine}")
        every = [(recipe, one) for one in formats for recipe in self.engine_recipes(model, one)]
        rounds = ("prompt", "generate", "repeats", "batches")
        how = {
            "models": [(str(recipe), format) for recipe, format in every],
            "domain": domain,
            "label": self.config.models[model].label,
            "protocol": {key: getattr(section, key) for key in rounds},
            "threads": self.config.throughput.threads,
            "dtype": self.config.throughput.dtype,
            "loading": self._loading(model),
            "seed": self.config.seed,
            "code": code_hash("engines", *self._own(model)),
        }
        # Each once, in the order of `models`: what no format measures is not made.
        recipes = dict.fromkeys(recipe for recipe, _ in every)
        dense = [self.checkpoint(model, domain, recipe) for recipe in recipes]
        loaded = [self._loaded(model, recipe, format) for recipe, format in every]
        files: Files = {
            "checkpoints": [one["manifest"] for one in dense],
            "weights": [one["weights"] for one in dense],
            "loaded": loaded,
            "held_back": self.splits(domain)["held_back"],
            "report": self.paths.data(domain),
        }
        return Job([self.paths.engines(hardware, model, engine)], files, how)
