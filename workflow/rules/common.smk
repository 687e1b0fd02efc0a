# The resolved configuration and what the rules ask: inputs, parameters, resources. A mistake in the
# configuration ends here, in one line, before anything runs. What is worth a test lies in
# trimllm_paper: `targets` (which files), `jobs` (inputs and parameters), `resources` (how much).

import os
import re
import sys

from trimllm.base import machine
from trimllm.base.names import AUTHORS, RULES
from trimllm.compress.engines import ENGINES
from trimllm.throughput.machine import this_machine
from trimllm_paper import config as configuration
from trimllm_paper.commands import engine, reference
from trimllm_paper.jobs import Jobs
from trimllm_paper.integrity.codehash import FIGURES, code_hash
from trimllm_paper.recipe import ANY, AT_ONCE, COMPRESSOR, DENSE, EPOCH
from trimllm_paper.targets import Targets

try:
    CONFIG = configuration.load(config, CONFIG_FILES)
except UserError as error:
    refuse(error)
config.update(CONFIG.model_dump(mode="json"))

JOBS = Jobs(CONFIG)
USES_GPU = JOBS.device == "cuda"
HARDWARE = CONFIG.throughput.hardware or this_machine(JOBS.device)
KEPT = reference.is_reference(CONFIG.results)
TARGETS = Targets(JOBS, HARDWARE, kept=KEPT)
PATHS = JOBS.paths
REPLICATES = lineage.Replicates(PATHS.results, CONFIG.seed, CONFIG.replicates)
PROCESSES = CONFIG.compute.processes
# What trains together, and on this machine jobs take its GPUs one after the other.
TEAM_GPUS = PROCESSES if USES_GPU else 0
GPUS = TEAM_GPUS if IS_LOCAL else int(USES_GPU)
TEAM_THREADS = CONFIG.compute.threads * PROCESSES
# Environment of an engine -> the engine.
ENGINE_OF = {environment: name for name, (environment, _) in ENGINES.items()}

refuse_unfit_for_cluster()
declare_resources({"mem_mb": machine.memory_bytes() >> 20, "gpu": TEAM_GPUS})
if found := REPLICATES.clash():
    refuse(f"{found[0]} {found[1]}; take its folder out of `replicates`")
if KEPT:
    try:
        reference.verify(CONFIG.results)
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
# `inputs`, `how` and `noted` are given the kind of a job, and wildcards that its rule does not have.


def inputs(kind, **fixed):
    """Input function: what a job reads; its results that lie there already must be this run's own."""

    def found(wildcards):
        told = {**wildcards, **fixed}
        if kind == "epoch" and (end := JOBS.past_the_end(told["model"], told["name"], told["drop"])):
            refuse(complaint(["trim", "kept_percent"], CONFIG.trim.kept_percent, end))
        job = JOBS.of(kind, **told)
        refuse_foreign(job)
        return job.files

    return found


def how(kind, **fixed):
    """Parameter: all that a job depends on beside its inputs."""
    return lambda wildcards: JOBS.of(kind, **wildcards, **fixed).how


def noted(kind, **fixed):
    """Parameter: the hash of the same, as its results carry it."""
    return lambda wildcards: JOBS.of(kind, **wildcards, **fixed).config_hash


def memory(task):
    """Memory of a job, MiB, by the size of its model; more after an attempt that failed."""
    return lambda wildcards, attempt: resources.mem_mb(task, CONFIG, wildcards, attempt)


def runtime(task):
    """Time limit of a job, minutes, likewise."""
    return lambda wildcards, attempt: resources.runtime(task, CONFIG, wildcards, attempt)


def log(kind, *parts):
    """Log of a job."""
    return "/".join(["logs", kind, *parts]) + ".log"
