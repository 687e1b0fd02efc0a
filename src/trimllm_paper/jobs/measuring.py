"""Jobs that start from a trained model: compressing, exporting, evaluating, timing, choosing."""

from itertools import product
from typing import Any

from trimllm.base.errors import UserError
from trimllm.base.names import GGUF_FAMILIES
from trimllm.compress.methods import METHODS
from trimllm.exporting import formats as exported
from trimllm.exporting.formats import COMPRESSED, FORMATS, LLAMA, TRANSFORMERS
from trimllm_paper.integrity.lineage import Job
from trimllm_paper.jobs import Jobs
from trimllm_paper.recipe import FULL_FT, PRETRAINED, RANDOM, Recipe


def compress(jobs: Jobs, model: str, domain: str, dense: str, compressor: str) -> Job:
    """A compressed checkpoint, proven on documents of no other use."""
    config = jobs.config.compress
    settings = config.model_dump(include={*METHODS[compressor].settings})
    params = {
        "engine": config.engine(compressor),
        "chain": jobs.chain_of(dense),
        "calibration": config.calibration_documents,
        "held_back": config.held_back_documents,
        "settings": settings | {"seed": jobs.config.seed},
        "loading": jobs.loading(model),
        "code": jobs.code("compress", model),
    }
    files = jobs.checkpoint(model, domain, dense) | jobs.documents(domain, "train", "held_back")
    place = model, domain, Recipe.parse(dense).compressed(compressor)
    return Job([jobs.paths.manifest(*place), jobs.paths.compression(*place)], files, params)


def export(jobs: Jobs, model: str, domain: str, recipe: str, format: str) -> Job:
    """A checkpoint as an engine reads it, verified on documents that nobody trains on.
    Raises `UserError` where the engine of the format is not installed."""
    exported.require_engine(format)
    entry = jobs.config.models[model]
    params = {
        "chain": jobs.chain_of(recipe),
        "documents": jobs.config.export.documents,
        "name": f"{entry.label}, {jobs.config.tested[domain].label}, {recipe}",
        "card": [entry.base_model, entry.license],
        "seed": jobs.config.seed,
        "loading": jobs.loading(model),
        "code": jobs.code("export", model),
    }
    files = jobs.checkpoint(model, domain, recipe) | jobs.documents(domain, "calibration")
    if jobs.config.own:  # its model card shows what was measured
        compared = dict.fromkeys([PRETRAINED, FULL_FT, recipe])
        tests = jobs.config.tested[domain].tests
        files["measured"] = [jobs.paths.answers(model, one) for one in compared]
        places = product([model], [domain], compared, tests)
        files["measured"] += [jobs.paths.evaluation(*place) for place in places]
    place = model, domain, recipe, format
    outputs = [jobs.paths.export(*place, "manifest.json"), jobs.paths.export(*place)]
    return Job(outputs, files, params)


def answers(jobs: Jobs, model: str, recipe: str) -> Job:
    """What a checkpoint answers to a few held-back documents, and its loss on other text."""
    domain = jobs.own_domain
    files = jobs.checkpoint(model, domain, recipe) | jobs.documents(domain, "held_back")
    params = {"chain": jobs.chain_of(recipe), "domain": domain, **jobs.forward("answers", model)}
    return Job([jobs.paths.answers(model, recipe)], files, params)


def choose(jobs: Jobs, hardware: str, model: str) -> Job:
    """Which checkpoint is exported; no test document is an input."""
    own, domain, kept = jobs.config.own, jobs.own_domain, jobs.kept_recipes(model)
    recipes: list[Recipe | str] = [FULL_FT, *kept]
    params = {
        "domain": domain,
        "hardware": hardware,
        "format": own.export if own else None,
        "required": own.required if own else None,
        "seed": jobs.config.seed,
        "code": jobs.code("choose"),
    }
    files = {
        "trainings": [jobs.paths.training(model, domain, one) for one in recipes],
        "weights": [jobs.paths.weights(model, domain, one) for one in recipes],
        "epochs": [jobs.paths.epoch(model, domain, one) for one in kept],
        "timings": [jobs.paths.throughput(hardware, model, one) for one in kept],
    }
    return Job([jobs.paths.choice(model)], files, params)


def evaluate(jobs: Jobs, model: str, domain: str, recipe: str, tested: str) -> Job:
    """Answers of a checkpoint to all tests of a domain."""
    config, spec = jobs.config, jobs.config.tested[tested]
    free = {"answer_tokens": config.evaluate.answer_tokens} if spec.tested_freely else {}
    params = {
        "chain": jobs.chain_of(recipe),
        "tested": tested,
        "tasks": list(spec.tests),
        "stand_in": spec.stand_in,
        "units_total": config.models[model].units,
        "batch_tokens": config.evaluate.batch_tokens,
        "generated": free,
        **jobs.forward("evaluate", model),
    }
    files = jobs.checkpoint(model, domain, recipe) | {
        "base": jobs.paths.manifest(model, "base", PRETRAINED),  # for its bytes
        "report": jobs.paths.data(tested),
        "tests": jobs.tests(tested),
    }
    outputs = [jobs.paths.evaluation(model, domain, recipe, task) for task in spec.tests]
    return Job(outputs, files, params)


def measure(jobs: Jobs, hardware: str, model: str, recipe: str) -> Job:
    """Speed of a checkpoint beside the full one, or of a shape with random weights."""
    section, domain = jobs.config.throughput, jobs.timed_domain
    params: dict[str, Any] = {
        "chain": {},
        "subject": section.model_dump(include={"dtype", "threads", "group_size"})
        | {"device": jobs.device},
        "protocol": section.model_dump(include={"generate", "repeats"})
        | {"prompt": section.tokens - section.generate},
        "compiled": section.compiled,
        "seed": jobs.config.seed,
        "code": jobs.code("measure", model),
    }
    if model.startswith(RANDOM):
        params["shape"], files = model.removeprefix(RANDOM), {}
    else:
        params |= {"chain": jobs.chain_of(recipe), "domain": domain, "loading": jobs.loading(model)}
        full = jobs.checkpoint(model, domain, FULL_FT)
        files = jobs.checkpoint(model, domain, recipe)
        files |= {"full": full["manifest"], "full_weights": full["weights"]}
    return Job([jobs.paths.throughput(hardware, model, recipe)], files, params)


def engine_formats(jobs: Jobs, model: str) -> dict[str, list[str]]:
    """Engine -> formats of the configuration that it can run a model in."""
    family, methods = str(jobs.config.models[model].family), jobs.config.compress.methods
    formats: dict[str, list[str]] = {}
    for name in jobs.config.engines.formats:
        in_llama = FORMATS[name] != LLAMA or ":" in family or family in GGUF_FAMILIES
        if in_llama and (name not in COMPRESSED or name in methods):
            formats.setdefault(FORMATS[name], []).append(name)
    return formats


def engines(jobs: Jobs, hardware: str, model: str, engine: str) -> Job:
    """Full and trimmed checkpoints in one engine, in turn. Raises `UserError` for an engine that is
    not installed for the device, or runs none of the formats."""
    exported.require(engine, jobs.device)
    section, domain = jobs.config.engines, jobs.timed_domain
    formats = engine_formats(jobs, model).get(engine, [])
    if not formats:
        raise UserError(f"none of engines.formats is {model} in {engine}")
    trim, place = jobs.config.trim, (model, domain)
    percents = section.kept_percent or trim.kept_percent
    recipes = Recipe(FULL_FT), *jobs.recipes(model, trim.recipes[0], percents)
    timed = [(recipe, one) for one in formats for recipe in recipes]
    params = {
        "models": [(str(recipe), format) for recipe, format in timed],
        "domain": domain,
        "protocol": section.model_dump(include={"prompt", "generate", "repeats", "batches"}),
        "threads": jobs.config.throughput.threads,
        **jobs.forward("engines", model),
        "dtype": jobs.config.throughput.dtype,
    }
    files = {
        "checkpoints": [jobs.paths.manifest(*place, one) for one in recipes],
        "weights": [jobs.paths.weights(*place, one) for one in recipes],
        "loaded": [_loaded(jobs, model, recipe, format) for recipe, format in timed],
        **jobs.documents(domain, "held_back"),
    }
    return Job([jobs.paths.engines(hardware, model, engine)], files, params)


def _loaded(jobs: Jobs, model: str, recipe: Recipe, format: str) -> str:
    """The last file of what an engine loads."""
    place = model, jobs.timed_domain
    if format == TRANSFORMERS:
        return jobs.paths.manifest(*place, recipe)
    if format in COMPRESSED:
        return jobs.paths.manifest(*place, recipe.compressed(format))
    return jobs.paths.export(*place, recipe, format, "manifest.json")
