# The resolved configuration, and functions that rules call; what they compute lies in trimllm_paper:
# `jobs` (inputs and parameters), `targets` (files of a target), `resources` (memory, GPUs, time).

import re

from trimllm.base import machine
from trimllm.base.errors import UserError
from trimllm.base.names import RULES
from trimllm.exporting.formats import ENGINES, VARIANTS
from trimllm_paper import config as configuration, gpus, kept_runs, resources
from trimllm_paper.figures import FIGURES
from trimllm_paper.integrity import checks
from trimllm_paper.integrity.codehash import code_hash
from trimllm_paper.jobs import Jobs, measuring, training
from trimllm_paper.recipe import ANY, AT_ONCE, COMPRESSED, COMPRESSOR, DENSE, EPOCH, RANDOM, STATE
from trimllm_paper.tables import TABLES
from trimllm_paper.targets import Targets


def or_refuse(function):
    """A function whose `UserError` ends the run with one line."""

    def result_or_exit(*arguments):
        try:
            return function(*arguments)
        except UserError as error:
            raise SystemExit(f"error: {error}") from None

    return result_or_exit


CONFIG = or_refuse(configuration.load)(config, workflow.configfiles)
if KEPT := kept_runs.is_kept(CONFIG.results):
    or_refuse(checks.verify_reference)(CONFIG.results)
config.update(CONFIG.model_dump(mode="json"))

JOBS, RESOURCES = Jobs(CONFIG), resources.Resources(CONFIG)
HARDWARE = CONFIG.throughput.hardware or machine.this_machine(JOBS.device)
TARGETS, PATHS = Targets(JOBS, HARDWARE, kept=KEPT), JOBS.paths
BENCHMARKS = f"{PATHS.results}/benchmarks"
ALL_CORES = workflow.resource_settings.cores or CONFIG.throughput.threads or 1
if workflow.resource_settings.nodes is None and workflow.is_main_process:  # jobs share this machine
    for name, amount in (("mem_mb", machine.memory_bytes() >> 20), ("gpu", len(gpus.visible()))):
        if name not in workflow.global_resources:
            workflow.register_resource(name, amount)


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
    engine=one_of(ENGINES),
    format=one_of(VARIANTS),
    figure=one_of(FIGURES),
    table=one_of(TABLES),


def inputs(kind, **fixed):
    """Input function of a kind of job (a function of `jobs.training` or `jobs.measuring`);
    `fixed`: wildcards that the rule does not have."""

    def files(wildcards):
        job = JOBS.of(kind, **wildcards, **fixed)
        refuse_foreign(kind.__name__, job)
        return dict(job.inputs)

    return or_refuse(files)


def depends(kind, **fixed):
    """Parameters: what a job's result depends on beside its inputs, and the hash of it."""
    return {
        "depends": lambda wildcards: JOBS.of(kind, **wildcards, **fixed).params,
        "config_hash": lambda wildcards: JOBS.of(kind, **wildcards, **fixed).config_hash,
    }


def reserved(task, **fixed):
    """Resources of a job by the size of its model. It starts its processes itself: one task on one
    node, where Slurm's plugin would start a task for each GPU. `fixed`: the rule's own wildcards.
    """
    on_gpu = JOBS.device == "cuda" and task != "fetch"
    work = lambda wildcards: (task, {**wildcards, **fixed})
    return {
        "mem_mb": lambda wildcards, attempt: RESOURCES.mem_mb(*work(wildcards), attempt),
        "runtime": lambda wildcards, attempt: RESOURCES.runtime(*work(wildcards), attempt),
        "formula": lambda wildcards: int(RESOURCES.formula(*work(wildcards))) + 1,
        "nodes": 1,
        "tasks_per_gpu": 0,
        "processes": lambda wildcards: RESOURCES.split(task, wildcards).processes,
        "recompute": lambda wildcards: int(RESOURCES.split(task, wildcards).recompute),
        "gpu": lambda wildcards: RESOURCES.split(task, wildcards).processes if on_gpu else 0,
    }


def threads(task):
    """Threads of all processes of a job."""
    return lambda wildcards: CONFIG.compute.threads * RESOURCES.split(task, wildcards).processes


def checkpoint(recipe, record, mark=str):
    """Files of a checkpoint, which may be marked as `temp`, and the record beside it, which stays."""
    place = ("{model}", "{domain}", recipe)
    manifest, weights = PATHS.manifest(*place), PATHS.weights(*place)
    return {"manifest": mark(manifest), "weights": mark(weights), "record": record(*place)}
