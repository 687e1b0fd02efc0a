"""Jobs that make models: fetching, preparing documents, scanning, training."""

from __future__ import annotations

from typing import Any

from trimllm.base.errors import UserError
from trimllm.base.names import ANSWER_CRITERION
from trimllm_paper.config.domain import read_by
from trimllm_paper.config.models import RecipeEntry
from trimllm_paper.integrity.lineage import Job
from trimllm_paper.integrity.provenance import folder_content
from trimllm_paper.jobs import Files, Jobs
from trimllm_paper.recipe import FULL_FT, PRETRAINED, SPARSE_FT, Recipe, taught

BLOCK_CRITERION = "both"
"""Chooses the blocks that Sparse-FT and droppings by rule train, unless answers are free."""
OPTIMIZATION = (
    *("batch_size", "gradient_accumulation", "optimizer", "weight_decay", "clip"),
    "train_embeddings",
)
"""Keys of `finetune` that every training shares."""

Place = tuple[str, str, Recipe]
"""Model, domain, recipe."""


def _wheels(jobs: Jobs, names: list[str]) -> dict[str, Any]:
    return {name: jobs.config.wheels[name].model_dump() for name in names}


def fetch_model(jobs: Jobs, model: str) -> Job:
    """A pretrained checkpoint, and what it must agree with."""
    keys = {"source", "storage_dtype", "trust_remote_code", "family", "blocks", "parameters"}
    entry = jobs.config.models[model]
    folder = getattr(entry.source, "directory", None)
    params = {
        "model": entry.model_dump(include=keys, exclude_none=True),
        "content": folder_content(folder) if folder else None,
        "wheels": _wheels(jobs, entry.wheels),
        "code": jobs.code("fetch_model", model),
    }
    return Job([jobs.paths.manifest(model, "base", PRETRAINED)], {}, params)


def prepare(jobs: Jobs, domain: str) -> Job:
    """The documents of a domain."""
    config, spec = jobs.config, jobs.config.tested[domain]
    params = {
        "spec": read_by(spec.raw),
        "limits": {
            "test": config.evaluate.documents,
            "held_back": config.finetune.held_back_documents,
            "calibration": config.trim.calibration_pool,
        },
        "wheels": _wheels(jobs, spec.wheels),
        "seed": config.seed,
        "code": jobs.code("prepare"),
    }
    return Job([jobs.paths.data(domain)], {"sources": [*spec.files]}, params)


def scan(jobs: Jobs, model: str, domain: str) -> Job:
    """The scan of the pretrained model."""
    params = {
        "documents": jobs.config.trim.calibration_documents,
        "row_budget": jobs.config.trim.row_budget,
        **jobs.forward("scan", model),
    }
    files = jobs.pretrained(model) | jobs.documents(domain, "calibration")
    return Job([jobs.paths.scan(model, domain)], files, params)


def _training(
    jobs: Jobs,
    place: Place,
    arguments: dict[str, Any],
    files: Files,
    entry: RecipeEntry | None = None,
    schedule: str = "epoch",
    rate: float | None = None,
) -> Job:
    """A training.

    Args:
        arguments: of `trimllm.train.make_checkpoint` or `trimllm.trimming.make_epoch`.
        entry: the chain it belongs to, whose teacher it learns from.
        rate: peak learning rate, where it is not the model's.
    """
    model, domain, made = place
    config = jobs.config
    files = files | jobs.documents(domain, "train", "held_back")
    teacher = entry.teacher if entry else None
    if teacher:
        files["teacher"] = jobs.paths.teacher(model, domain)
    params = {
        "arguments": arguments,
        "chain": jobs.chain_of(made),
        "settings": {
            "learning_rate": rate or config.models[model].learning_rate,
            **{key: getattr(config.finetune, key) for key in OPTIMIZATION},
            **(teacher.model_dump() if teacher else {}),
            "schedule": schedule,
            "seed": config.seed,
            "dtype": config.compute.dtype,
        },
        "loading": jobs.loading(model),
        "exact": made.stage == "state" and entry is not None and entry.state == "float32",
        "pool": entry.pool if entry else None,
        "code": jobs.code("train", model, arguments.get("criterion", "")),
    }
    record = jobs.paths.epoch if made.stage == "state" else jobs.paths.training
    return Job([jobs.paths.manifest(*place), record(*place)], files, params)


def _passes(jobs: Jobs, **other: Any) -> dict[str, Any]:
    """How long fine-tuning goes on: the same for all that a table compares, but `other`."""
    keys = ("epochs", "documents", "patience")
    return {key: getattr(jobs.config.finetune, key) for key in keys} | other


def _block_criterion(jobs: Jobs, domain: str) -> str:
    free = jobs.config.domain_specs[domain].calibrated_freely
    return ANSWER_CRITERION if free else BLOCK_CRITERION


def full_ft(jobs: Jobs, model: str, domain: str) -> Job:
    """Full fine-tuning, or LoRA in its place, with a learning rate of its own."""
    arguments = _passes(jobs, ratio=None, criterion=_block_criterion(jobs, domain))
    rate = None
    if jobs.config.finetune.lora:
        lora = jobs.config.finetune.lora.model_dump()
        rate = lora.pop("learning_rate")
        arguments["lora"] = lora
    place = (model, domain, Recipe(FULL_FT))
    return _training(jobs, place, arguments, jobs.pretrained(model), rate=rate)


def sparse_ft(jobs: Jobs, model: str, domain: str) -> Job:
    """Sparse fine-tuning: the scan chooses the blocks, documents and order are Full-FT's."""
    criterion = _block_criterion(jobs, domain)
    arguments = _passes(jobs, ratio=jobs.config.main.ratio, criterion=criterion)
    files = jobs.pretrained(model) | {"scan": jobs.paths.scan(model, domain)}
    return _training(jobs, (model, domain, Recipe(SPARSE_FT)), arguments, files)


def drop_at_once(jobs: Jobs, model: str, domain: str, by: str, drop: str) -> Job:
    """A dropping by rule, trained at most as long as the main chain takes to as many drops."""
    main = jobs.config.main
    arguments = {
        "rule": by,
        "dropped": int(drop),
        "patience": jobs.config.finetune.patience,
        "epochs": 1 + -(-int(drop) // main.step),
        "documents": jobs.config.trim.documents,
        "ratio": main.ratio,
        "criterion": _block_criterion(jobs, domain),
    }
    files = jobs.pretrained(model) | {"scan": jobs.paths.scan(model, domain)}
    place = (model, domain, Recipe("trim", by, drop))
    return _training(jobs, place, arguments, files, rate=main.learning_rate)


def teach(jobs: Jobs, model: str, domain: str) -> Job:
    """What the fully fine-tuned model predicts on the training documents of the chains."""
    recipes = jobs.config.recipes.values()
    params = {
        "every_token": any(one.teacher and one.teacher.hidden > 0 for one in recipes),
        "documents": taught(jobs.config, jobs.config.models[model].units),
        **jobs.forward("train", model),
    }
    files = jobs.checkpoint(model, domain, FULL_FT) | jobs.documents(domain, "train")
    return Job([], files, params)


def trim_epoch(jobs: Jobs, model: str, domain: str, name: str, drop: str) -> Job:
    """An epoch of a chain: from the state before, and its record, to the next state."""
    _require_epoch(jobs, model, name, drop)
    entry, trim = jobs.chains[name], jobs.config.trim
    dropped, step = int(drop), entry.step
    # Only the decay over the whole chain depends on where the chain ends.
    until = jobs.end(model, name) if entry.schedule == "chain" else max(dropped, step)
    arguments = {
        "criterion": entry.criterion,
        "ratio": entry.ratio,
        "step": step,
        "until": until,
        "start": dropped // step,
        "documents": trim.documents if entry.train else 0,
        "scans": {
            "documents": trim.calibration_documents,
            "resample": entry.resample,
            "row_budget": trim.row_budget,
        },
    }
    if dropped > 0:
        before = Recipe.trimmed(name, dropped - step, jobs.config.models[model].units)
        files = jobs.checkpoint(model, domain, before.state)
        files["epoch"] = jobs.paths.epoch(model, domain, before)
    elif entry.start == PRETRAINED:
        files = jobs.pretrained(model) | {"scan": jobs.paths.scan(model, domain)}
    else:
        files = jobs.checkpoint(model, domain, entry.start)
    files |= jobs.documents(domain, "calibration")
    place, rate = (model, domain, Recipe("trim", name, drop).state), entry.learning_rate
    return _training(jobs, place, arguments, files, entry, entry.schedule, rate)


def settle(jobs: Jobs, model: str, domain: str, name: str, drop: str) -> Job:
    """A checkpoint of a chain that is evaluated: its state, annealed and rounded once."""
    _require_epoch(jobs, model, name, drop)
    entry, recipe = jobs.chains[name], Recipe("trim", name, drop)
    files = jobs.checkpoint(model, domain, recipe.state)
    files["epoch"] = jobs.paths.epoch(model, domain, recipe)
    # A state was trained before: annealing may stop after one pass.
    arguments = _passes(jobs, epochs=entry.settle, least=1, ratio=entry.ratio)
    place, rate = (model, domain, recipe), entry.learning_rate
    return _training(jobs, place, arguments, files, entry, rate=rate)


def _require_epoch(jobs: Jobs, model: str, name: str, drop: str) -> None:
    """Raise `UserError` if no epoch of a chain ends at so many drops."""
    step, end = jobs.chains[name].step, jobs.end(model, name)
    units = jobs.config.models[model].units
    if int(drop) > end:
        raise UserError(
            f"trim.kept_percent: chains of {model} with {step} drops an epoch end at {end}, "
            f"before drop_{drop}; keep fewer sublayers there"
        )
    if Recipe.trimmed(name, int(drop) // step * step, units).drop != drop:
        raise UserError(f"drop_{drop} is no epoch of chain {name}, which drops {step} an epoch")
