"""Jobs that make models: fetching, preparing documents, scanning, training."""

import hashlib
import math
from pathlib import Path
from typing import Any

from trimllm.base.errors import UserError
from trimllm.base.names import ANSWER_CRITERION, PAPER_CRITERION
from trimllm_paper.config.models import RecipeEntry
from trimllm_paper.integrity.lineage import Job
from trimllm_paper.jobs import Files, Jobs
from trimllm_paper.recipe import (
    FULL_FT,
    FULL_FT_CHOICES,
    PRETRAINED,
    SPARSE_FT,
    Recipe,
    teacher_documents,
)

OPTIMIZATION = {"batch_size", "gradient_accumulation", "optimizer", "weight_decay", "clip"}
OPTIMIZATION |= {"train_embeddings"}
"""Keys of `finetune` that every training shares."""
PASSES = {"epochs", "documents", "patience"}  # keys of `finetune`: how long it goes on


def folder_content(folder: str | Path) -> dict[str, list[Any]]:
    """Name, bytes, and hash of the first and last MiB of each file: planning hashes no 13 GB."""
    content = {}
    for path in sorted(path for path in Path(folder).rglob("*") if path.is_file()):
        size = path.stat().st_size
        with path.open("rb") as stream:
            digest = hashlib.sha256(stream.read(1 << 20))
            stream.seek(max(0, size - (1 << 20)))
            digest.update(stream.read())
        content[path.relative_to(folder).as_posix()] = [size, digest.hexdigest()]
    return content


def fetch_model(jobs: Jobs, model: str) -> Job:
    """A pretrained checkpoint, and what it must agree with."""
    keys = {"source", "storage_dtype", "trust_remote_code", "family", "blocks", "parameters"}
    entry = jobs.config.models[model]
    folder = getattr(entry.source, "directory", None)
    params = {
        "model": entry.model_dump(include=keys, exclude_none=True),
        "content": folder_content(folder) if folder else None,
        "wheels": {name: jobs.config.wheels[name].model_dump() for name in entry.wheels},
        "code": jobs.code("fetch_model", model),
    }
    return Job([jobs.checkpoint(model, "base")["manifest"]], {}, params)


def prepare(jobs: Jobs, domain: str) -> Job:
    """The documents of a domain."""
    config, spec = jobs.config, jobs.config.tested[domain]
    params = {
        "spec": {name: value for name, value in spec.raw.items() if name != "expected"},
        "limits": {
            "test": config.evaluate.documents,
            "held_back": config.finetune.held_back_documents,
            "calibration": config.trim.calibration_pool,
        },
        "wheels": {name: config.wheels[name].model_dump() for name in spec.wheels},
        "tasks": [folder_content(folder) for folder in spec.task_folders],
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
    files = jobs.checkpoint(model, "base") | jobs.documents(domain, "calibration")
    return Job([jobs.paths.scan(model, domain)], files, params)


def _training(
    jobs: Jobs,
    place: tuple[str, str, Recipe],
    arguments: dict[str, Any],
    files: Files,
    entry: RecipeEntry | None = None,
    schedule: str = "epoch",
    rate: float | None = None,
    **loss: float,
) -> Job:
    """A training of a recipe with `arguments` of `trimllm.train.make_checkpoint` or
    `trimllm.trimming.make_epoch`. A chain (`entry`) sets its loss by its teacher, if it has one;
    `rate` is the peak learning rate, where it is not the model's."""
    config, (model, domain, recipe) = jobs.config, place
    files = files | jobs.documents(domain, "train", "held_back")
    if entry and entry.teacher:
        files["teacher"] = jobs.paths.teacher(model, domain, entry.teacher_recipe)
        loss = entry.teacher.model_dump()
    if entry is None:  # what chooses the blocks that are trained
        free = config.domain_specs[domain].calibrated_freely
        arguments["criterion"] = ANSWER_CRITERION if free else PAPER_CRITERION
    params = {
        "arguments": arguments,
        "chain": jobs.chain_of(recipe),
        "start": entry and [entry.start, entry.teacher and entry.teacher_recipe],
        "settings": {
            "learning_rate": rate or config.models[model].learning_rate,
            **config.finetune.model_dump(include=OPTIMIZATION),
            **loss,
            "schedule": schedule,
            "seed": config.seed,
            "dtype": config.compute.dtype,
        },
        "loading": jobs.loading(model),
        "exact": recipe.stage == "state",
        "code": jobs.code("train", model, arguments.get("criterion", "")),
    }
    record = jobs.paths.epoch if recipe.stage == "state" else jobs.paths.training
    return Job([jobs.paths.manifest(*place), record(*place)], files, params)


def _scanned(jobs: Jobs, model: str, domain: str) -> Files:
    """The pretrained model and its scan."""
    return jobs.checkpoint(model, "base") | {"scan": jobs.paths.scan(model, domain)}


def full_ft(jobs: Jobs, model: str, domain: str) -> Job:
    """Full fine-tuning, or LoRA in its place, with a learning rate of its own."""
    finetune, rate = jobs.config.finetune, None
    arguments = finetune.model_dump(include=PASSES) | {"ratio": None}
    if finetune.lora:
        arguments["lora"] = finetune.lora.model_dump(exclude={"learning_rate"})
        rate = finetune.lora.learning_rate
    place, files = (model, domain, Recipe(FULL_FT)), jobs.checkpoint(model, "base")
    return _training(jobs, place, arguments, files, rate=rate)


def full_ft_choices(jobs: Jobs, model: str, domain: str) -> Job:
    """Full fine-tuning, continued from full_ft with the loss of all choices at half of the rate."""
    plain, place = full_ft(jobs, model, domain).params, (model, domain, Recipe(FULL_FT_CHOICES))
    arguments, rate = plain["arguments"] | {"least": 1}, plain["settings"]["learning_rate"] / 2
    files = jobs.checkpoint(model, domain, FULL_FT)
    return _training(jobs, place, arguments, files, rate=rate, choice_loss=1.0)


def sparse_ft(jobs: Jobs, model: str, domain: str) -> Job:
    """Sparse fine-tuning: the scan chooses the blocks, documents and order are Full-FT's."""
    arguments = jobs.config.finetune.model_dump(include=PASSES) | {"ratio": jobs.config.main.ratio}
    place, files = (model, domain, Recipe(SPARSE_FT)), _scanned(jobs, model, domain)
    return _training(jobs, place, arguments, files)


def drop_at_once(jobs: Jobs, model: str, domain: str, by: str, drop: str) -> Job:
    """A dropping by rule, trained at most as long as the main chain takes to as many drops."""
    main = jobs.config.main
    arguments = {
        "rule": by,
        "dropped": int(drop),
        "patience": jobs.config.finetune.patience,
        "epochs": 1 + math.ceil(int(drop) / main.step),
        "documents": jobs.config.trim.documents,
        "ratio": main.ratio,
    }
    place, files = (model, domain, Recipe("trim", by, drop)), _scanned(jobs, model, domain)
    return _training(jobs, place, arguments, files, rate=main.learning_rate)


def teach(jobs: Jobs, model: str, domain: str, recipe: str) -> Job:
    """What a fine-tuned model predicts on the training documents of the chains."""
    params = {
        "documents": teacher_documents(jobs.config, jobs.config.models[model].units),
        **jobs.forward("train", model),
    }
    files = jobs.checkpoint(model, domain, recipe) | jobs.documents(domain, "train")
    return Job([], files, params)


def trim_epoch(jobs: Jobs, model: str, domain: str, name: str, drop: str) -> Job:
    """An epoch of a chain: from the state before, and its record, to the next state."""
    entry, recipe = _epoch(jobs, model, name, drop)
    trim, step, dropped = jobs.config.trim, entry.step, recipe.dropped
    # Only the decay over the whole chain depends on where the chain ends.
    until = jobs.end(model, name) if entry.schedule == "chain" else max(dropped, step)
    arguments = {
        "criterion": entry.criterion,
        "ratio": entry.ratio,
        "step": step,
        "until": until,
        "start": dropped // step,
        "documents": trim.documents if entry.train else 0,
        "scan_documents": trim.calibration_documents,
        "row_budget": trim.row_budget,
    }
    if dropped > 0:
        before = Recipe.trimmed(name, dropped - step, jobs.config.models[model].units)
        files = jobs.checkpoint(model, domain, before.state)
        files["epoch"] = jobs.paths.epoch(model, domain, before)
    elif entry.start == PRETRAINED:
        files = _scanned(jobs, model, domain)
    else:
        files = jobs.checkpoint(model, domain, entry.start)
    files |= jobs.documents(domain, "calibration")
    place, rate = (model, domain, recipe.state), entry.learning_rate
    return _training(jobs, place, arguments, files, entry, entry.schedule, rate)


def settle(jobs: Jobs, model: str, domain: str, name: str, drop: str) -> Job:
    """A checkpoint of a chain that is evaluated: its state, annealed and rounded once."""
    entry, recipe = _epoch(jobs, model, name, drop)
    files = jobs.checkpoint(model, domain, recipe.state)
    files["epoch"] = jobs.paths.epoch(model, domain, recipe)
    # A state was trained before: annealing may stop after one pass.
    passes = {"epochs": entry.settle, "least": 1, "ratio": entry.ratio}
    arguments = jobs.config.finetune.model_dump(include=PASSES) | passes
    place, rate = (model, domain, recipe), entry.learning_rate
    return _training(jobs, place, arguments, files, entry, rate=rate)


def _epoch(jobs: Jobs, model: str, name: str, drop: str) -> tuple[RecipeEntry, Recipe]:
    """A chain and its checkpoint; `UserError` if none of its epochs ends at so many drops."""
    entry, end, units = jobs.chains[name], jobs.end(model, name), jobs.config.models[model].units
    recipe = Recipe.trimmed(name, int(drop), units)
    if recipe.drop != drop or recipe.dropped not in range(0, end + 1, entry.step):
        drops = f"drops {entry.step} an epoch, and {end} in all (trim.kept_percent)"
        raise UserError(f"there is no drop_{drop}: chain {name} of {model} {drops}")
    return entry, recipe
