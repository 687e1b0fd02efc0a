# The resolved configuration and what the rules ask: inputs, parameters, resources. A mistake in the
# configuration ends here, in one line, before anything runs. What is worth a test lies in
# trimllm_paper: `targets` (which files), `jobs` (inputs and parameters), `resources` (how much).

import math
import os
import re
import sys

from trimllm.base import machine
from trimllm.base.names import RULES
from trimllm.compress.methods import EXTERNAL
from trimllm.engines.formats import ENGINES as INFERENCE
from trimllm.exporting.formats import VARIANTS
from trimllm.throughput.machine import this_machine
from trimllm_paper import config as configuration, gpus, kept_runs, layout, resources
from trimllm_paper.choices import Choice
from trimllm_paper.commands import engine
from trimllm_paper.jobs import Jobs
from trimllm_paper.integrity import checks
from trimllm_paper.integrity.codehash import code_hash
from trimllm_paper.recipe import ANY, AT_ONCE, COMPRESSED, COMPRESSOR, DENSE, EPOCH, STATE
from trimllm_paper.targets import Targets

try:
    CONFIG = configuration.load(config, CONFIG_FILES)
except UserError as error:
    refuse(error)
config.update(CONFIG.model_dump(mode="json"))

JOBS, RESOURCES = Jobs(CONFIG), resources.Resources(CONFIG)
USES_GPU = JOBS.device == "cuda"
HARDWARE = CONFIG.throughput.hardware or this_machine(JOBS.device)
KEPT = kept_runs.is_kept(CONFIG.results)
TARGETS = Targets(JOBS, HARDWARE, kept=KEPT)
PATHS = JOBS.paths
REPLICATES = lineage.Replicates(PATHS.results, CONFIG.seed, CONFIG.replicates)
# What stands in the place of full fine-tuning, for messages.
BY_LORA = " by LoRA" if CONFIG.finetune.lora else ""
# Environment of an engine -> the engine.
ENGINE_OF = {environment: name for name, environment in EXTERNAL.items()}

refuse_unfit_for_cluster()
# On one machine jobs share its memory and its GPUs.
declare_resources({"mem_mb": machine.memory_bytes() >> 20, "gpu": len(gpus.visible())})
if found := REPLICATES.clash():
    refuse(f"{found[0]} {found[1]}; take its folder out of `replicates`")
if KEPT:
    try:
        checks.verify_reference(CONFIG.results)
    except UserError as error:
        refuse(error)


def complaint(key, value, problem):
    """A mistake in the configuration in words: file, key, value, problem."""
    source = configuration.source_of(key, value, CONFIG_FILES)
    return configuration.ConfigError(source, key, value, problem)


def one_of(names):
    """A constraint on a wildcard that is one of some names."""
    return "|".join(map(re.escape, names)) or "nothing_of_the_kind"


wildcard_constraints:
    hardware=re.escape(HARDWARE),
    model=one_of(CONFIG.models),
    domain=one_of(CONFIG.tested),
    name=one_of(JOBS.chains),
    by=one_of(RULES),
    drop=r"[0-9][0-9]+",
    compressor=COMPRESSOR,
    dense=DENSE,
    recipe=ANY,


# ---- a kind of job ---------------------------------------------------------------------------------
# `inputs` and `depends` are given the kind of a job, and wildcards that its rule does not have.


def inputs(kind, **fixed):
    """Input function: what a job reads; its results that lie there already must be this run's own."""

    def found(wildcards):
        told = {**wildcards, **fixed}
        if kind in ("epoch", "settled") and (
            end := JOBS.past_the_end(told["model"], told["name"], told["drop"])
        ):
            refuse(complaint(["trim", "kept_percent"], CONFIG.trim.kept_percent, end))
        try:
            job = JOBS.of(kind, **told)
        except UserError as error:
            refuse(error)
        refuse_foreign(job)
        return dict(job.files)

    return found


def depends(kind, **fixed):
    """Parameters: all that a job depends on beside its inputs, and its hash, as results carry it."""
    return {
        "how": lambda wildcards: JOBS.of(kind, **wildcards, **fixed).how,
        "config_hash": lambda wildcards: JOBS.of(kind, **wildcards, **fixed).config_hash,
    }


def reserved(task):
    """Resources of a job by the size of its model: memory (MiB) and a time limit (minutes), which grow
    with each attempt, GPUs, how a training is shared, and the seconds that plans expect. A job is one
    task on one node, which starts its processes itself: Slurm's plugin would start a task for each
    GPU, each with all threads.
    """

    def asked(of):
        return lambda wildcards, attempt: of(task, wildcards, attempt)

    def split(field):
        return lambda wildcards: int(getattr(RESOURCES.split(task, wildcards), field))

    return {
        "mem_mb": asked(RESOURCES.mem_mb),
        "runtime": asked(RESOURCES.runtime),
        "formula": lambda wildcards: math.ceil(RESOURCES.formula(task, wildcards)),
        "nodes": 1,
        "tasks_per_gpu": 0,
        "processes": split("processes"),
        "recompute": split("recompute"),
        "gpu": split("processes") if USES_GPU and task != "fetch" else 0,
    }


def threads(task):
    """Threads of a job: of all its processes."""
    return lambda wildcards: CONFIG.compute.threads * RESOURCES.split(task, wildcards).processes


def log(kind, *parts):
    """Log of a job."""
    return f"{os.path.join('logs', kind, *parts)}.log"


def checkpoint(recipe, record, mark=str):
    """Files of a checkpoint, which may be marked as `temp`, and the record beside it, which stays."""
    place = ("{model}", "{domain}", recipe)
    manifest, weights = PATHS.manifest(*place), PATHS.weights(*place)
    return {"manifest": mark(manifest), "weights": mark(weights), "record": record(*place)}


# ---- one's own data --------------------------------------------------------------------------------


def of_chosen(kind):
    """Input function: files of the checkpoint that is chosen, once it is."""

    def found(wildcards):
        file = checkpoints.choose.get(**wildcards).output[0]
        return TARGETS.own_chosen(wildcards.model, Choice.read(file))[kind]

    return found


def own_timings(wildcards):
    """Measurements of speed that the card of a model for one's own data tells."""
    return TARGETS.own_report(wildcards.model)["throughput"] if CONFIG.own else []


def own_reports(wildcards):
    """Reports of all models, or one line that says why there can be none."""
    try:
        return TARGETS.own()
    except UserError as error:
        refuse(error)


# ---- what is rendered, and stands in the report ----------------------------------------------------


def of_table(wildcards):
    """What a table is made from, or one line that says why there can be none."""
    try:
        return TARGETS.table(wildcards.table)
    except UserError as error:
        refuse(error)


def drawn(figure, title):
    """The forms of a figure; the picture stands in the report."""
    labels = {"figure": f"{figure[-1]}: {title}", "model": "{model}"}
    shown = {"caption": f"../report/{figure}.rst", "category": "2. Figures", "labels": labels}
    stem = f"{TARGETS.figures_folder}/{figure}_{{model}}"
    return {"pdf": f"{stem}.pdf", "png": report(f"{stem}.png", **shown)}
