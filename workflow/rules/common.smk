# The resolved configuration, and functions that rules call for inputs, parameters and resources. What
# they compute lies in trimllm_paper: `jobs` (inputs and parameters), `targets` (files of a target),
# `resources` (memory, GPUs, time).

import math
import os
import re
import sys

from trimllm.base import machine
from trimllm.base.names import RULES
from trimllm.throughput.machine import this_machine
from trimllm_paper import config as configuration, gpus, kept_runs
from trimllm_paper.choices import Choice
from trimllm_paper.jobs import Jobs, measuring, training
from trimllm_paper.integrity import checks
from trimllm_paper.integrity.codehash import code_hash
from trimllm_paper.recipe import ANY, AT_ONCE, COMPRESSED, COMPRESSOR, DENSE, EPOCH, STATE
from trimllm_paper.targets import Targets

try:
    CONFIG = configuration.load(config, CONFIG_FILES)
    KEPT = kept_runs.is_kept(CONFIG.results)
    if KEPT:
        checks.verify_reference(CONFIG.results)
except UserError as error:
    refuse(error)
config.update(CONFIG.model_dump(mode="json"))

JOBS, RESOURCES = Jobs(CONFIG), resources.Resources(CONFIG)
HARDWARE = CONFIG.throughput.hardware or this_machine(JOBS.device)
TARGETS, PATHS = Targets(JOBS, HARDWARE, kept=KEPT), JOBS.paths
if IS_MAIN and not workflow.local_exec:
    if problem := cluster.unfit_for_cluster(CONFIG.compute, workflow.config_settings.config_args):
        refuse(problem)
if IS_MAIN and workflow.resource_settings.nodes is None:  # local jobs share this machine
    for name, amount in (("mem_mb", machine.memory_bytes() >> 20), ("gpu", len(gpus.visible()))):
        if name not in workflow.global_resources:
            workflow.register_resource(name, amount)


def complaint(key, value, problem):
    """A mistake in the configuration: file, key, value, problem."""
    source = configuration.source_of(key, value, CONFIG_FILES)
    return configuration.ConfigError(source, key, value, problem)


def one_of(names):
    """A constraint on a wildcard that is one of some names."""
    return "|".join(map(re.escape, names)) or "no_name"


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


def inputs(kind, **fixed):
    """Input function of a kind of job (a function of `jobs.training` or `jobs.measuring`), which
    refuses results that lie there and are not this run's own. `fixed`: wildcards the rule has not.
    """

    def files(wildcards):
        try:
            job = JOBS.of(kind, **wildcards, **fixed)
            refuse_foreign(kind.__name__, job)
        except UserError as error:
            refuse(error)
        return dict(job.inputs)

    return files


def depends(kind, **fixed):
    """Parameters: what a job's result depends on beside its inputs, and the hash of it."""
    return {
        "depends": lambda wildcards: JOBS.of(kind, **wildcards, **fixed).params,
        "config_hash": lambda wildcards: JOBS.of(kind, **wildcards, **fixed).config_hash,
    }


def reserved(task):
    """Resources of a job by the size of its model: MiB and minutes, which grow with each attempt,
    GPUs, how a training is shared, expected seconds. A job starts its processes itself: one task on
    one node, where Slurm's plugin would start a task for each GPU."""

    def split(field):
        return lambda wildcards: int(getattr(RESOURCES.split(task, wildcards), field))

    return {
        "mem_mb": lambda wildcards, attempt: RESOURCES.mem_mb(task, wildcards, attempt),
        "runtime": lambda wildcards, attempt: RESOURCES.runtime(task, wildcards, attempt),
        "formula": lambda wildcards: math.ceil(RESOURCES.formula(task, wildcards)),
        "nodes": 1,
        "tasks_per_gpu": 0,
        "processes": split("processes"),
        "recompute": split("recompute"),
        "gpu": split("processes") if JOBS.device == "cuda" and task != "fetch" else 0,
    }


def threads(task):
    """Threads of all processes of a job."""
    return lambda wildcards: CONFIG.compute.threads * RESOURCES.split(task, wildcards).processes


def log(kind, *parts):
    """Log of a job."""
    return f"{os.path.join('logs', kind, *parts)}.log"


def checkpoint(recipe, record, mark=str):
    """Files of a checkpoint, which may be marked as `temp`, and the record beside it, which stays."""
    place = ("{model}", "{domain}", recipe)
    manifest, weights = PATHS.manifest(*place), PATHS.weights(*place)
    return {"manifest": mark(manifest), "weights": mark(weights), "record": record(*place)}


def or_refuse(files):
    """An input function whose error ends the run with one line."""

    def found(wildcards):
        try:
            return files(wildcards)
        except UserError as error:
            refuse(error)

    return found


def of_chosen(kind):
    """Input function: files of the checkpoint that is chosen, once it is."""

    def files(wildcards):
        choice = Choice.read(checkpoints.choose.get(**wildcards).output[0])
        return TARGETS.own_chosen(wildcards.model, choice)[kind]

    return files


def own_pages():
    """The choice and the report of every model of a run on one's own data."""
    for model in CONFIG.models if CONFIG.own else ():
        page = Path(PATHS.chosen(model, "report.html"))
        if page.is_file():
            yield Choice.read(PATHS.chosen(model)).told
            yield f"Report: {page}; serve it: trimllm serve {PATHS.results}"
