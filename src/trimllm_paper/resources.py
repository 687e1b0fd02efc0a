"""What the rules ask for their jobs, `told` the wildcards: memory, time, and why one cannot run.

How much a job takes is in `demand` and `duration`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from types import SimpleNamespace
from typing import Any

from trimllm.base import kernels
from trimllm.base.machine import memory_bytes
from trimllm.throughput.shapes import parameters
from trimllm_paper import demand, driver, duration, gpus
from trimllm_paper.config import MISSING
from trimllm_paper.data_records import DataReport
from trimllm_paper.demand import MIB, uses_gpu
from trimllm_paper.recipe import Paths, Recipe, chains
from trimllm_paper.shapes import RANDOM

TASKS = {name: name for name in ("scan", "full_ft", "sparse_ft", "compress", "evaluate", "measure")}
TASKS |= {"fetch_model": "fetch", "drop_at_once": "sparse_ft", "trim_epoch": "trim"}
TASKS |= {"settle": "settle", "teach": "teach", "export": "evaluate"}
TASKS |= {"answers": "evaluate", "engines": "measure"}
"""Rule, or what precedes `_` in its name -> what its jobs do with a model."""
# Training documents where nobody has counted: the largest domain, MedMCQA, has 183,000.
MANY = 200_000
# Time limits: so many times the expected time, and minutes for a slow start.
MARGIN, SLOW_START = 4, 10
# A job that is expected to take more than this share of the longest that a cluster allows, a start
# included, is refused: what is expected is good to a factor of two.
SAFE = 0.75

Refusal = tuple[list[Any], Any, str]
"""Key of the configuration, its value, and what is wrong with it."""


def task_of(rule: str) -> str | None:
    """What the jobs of a rule do with a model, or None if they have none."""
    return next((task for name, task in TASKS.items() if f"{rule}_".startswith(f"{name}_")), None)


def trained_documents(results: str, domain: str | None) -> int | None:
    """Training documents of a domain that is prepared; None where it is not."""
    report = Paths(results).data(domain or "")
    if not os.path.isfile(report):
        return None
    return DataReport.read(report).trained


@dataclass(frozen=True)
class Need:
    """What all jobs of one task, model and chain take.

    Attributes:
        model: of the configuration, or the size of a shape that is timed.
        entry: recipe of the chain; the main one's where there is none.
    """

    model: Any
    entry: Any
    shared: demand.Shared
    memory: demand.Memory


class Needs:
    """What jobs of a configuration take. Few of the thousands in a DAG differ: each kind is worked
    out once."""

    def __init__(self, config: Any) -> None:
        self.config, self.chains = config, chains(config)
        self.of: Callable[..., Need] = cache(self._of)

    def _of(self, task: str, name: str, chain: str | None = None) -> Need:
        """What jobs of a task on a model (or shape) take in a chain, or in none."""
        model, entry = self.config.models.get(name), self.chains.get(chain or "", self.config.main)
        model = model or SimpleNamespace(parameters=parameters(name.removeprefix(RANDOM)))
        how = task, model, self.config, entry.ratio
        way = demand.shared(*how)
        return Need(model, entry, way, demand.memory(*how, way))

    def told(self, task: str, told: Any) -> Need:
        """The same by the wildcards of a job."""
        return self.of(task, told.get("model"), told.get("name"))

    def mem_mb(self, task: str, told: Any, attempt: int = 1) -> int:
        """MiB that a job reserves; half as much more after each attempt that was killed. Two models
        are timed one after the other where memory is short."""
        need = _again(self.told(task, told).memory.host_mib, attempt)
        return min(need, memory_bytes() // MIB) if task == "measure" else need

    def runtime(self, task: str, told: Any, attempt: int = 1) -> int:
        """Time limit of a job, minutes, likewise; no more than `compute.longest_minutes`."""
        minutes = MARGIN * self.expected_minutes(task, told)
        need = _again(SLOW_START + math.ceil(minutes), attempt)
        return min(need, self.config.compute.longest_minutes or need)

    def expected_minutes(self, task: str, told: Any, uncounted: int = MANY) -> float:
        """What a job takes by the plan's own model; `uncounted`: training documents where nobody
        has counted them."""
        config, need = self.config, self.told(task, told)
        domain, tested = told.get("domain"), config.tested
        expected = tested[domain].expected if domain in tested and task != "evaluate" else None
        prepared = trained_documents(config.results, domain) or getattr(expected, "train", None)
        found = duration.seconds(
            task,
            need.model,
            config,
            ratio=need.entry.ratio,
            settle=need.entry.settle,
            expected=expected,
            prepared=prepared or uncounted,
            tests=max((len(one.tests) for one in tested.values()), default=1),
            way=need.shared,
        )
        return found / 60


def _again(need: int, attempt: int) -> int:
    return math.ceil(need * (1 + 0.5 * (attempt - 1)))


def refusal(jobs: Iterable[tuple[str, Any]], config: Any, here: bool) -> Refusal | None:
    """Why jobs cannot run: the first problem, or None.

    Args:
        jobs: rule and wildcards of each.
        here: jobs run on this machine, whose memory and GPUs must do. Those of a cluster that
            measure must be named, since who submits says nothing of them.
    """
    work, needs = [(task, told) for rule, told in jobs if (task := task_of(rule))], Needs(config)
    if found := next(filter(None, (_overlong(*one, needs) for one in work)), None):
        return found
    asked = {(task, told.get("model"), told.get("name")) for task, told in work}
    if here:
        if found := _no_kernel(work, config):
            return found
        on_gpu = bool(asked) and uses_gpu(config)
        if on_gpu and (problem := driver.unusable()):
            return ["compute", "device"], config.compute.device, problem
        there = gpu_memory_gib() if on_gpu else []
        short = (_shortfall(*one, needs, there) for one in sorted(asked, key=str))
        return next(filter(None, short), None)
    if uses_gpu(config) and config.compute.gpu:  # (else nobody has said which they are)
        kind, known = gpus.kind_of(config)
        on_models = (one for one in sorted(asked, key=str) if one[1] in config.models)
        full = (_overfull(*one, needs, known.gib, f"those of {kind}") for one in on_models)
        if found := next(filter(None, full), None):
            return found
    unnamed = [key for key in ("hardware", "threads") if getattr(config.throughput, key) is None]
    if unnamed and any(task == "measure" for task, *_ in asked):
        problem = (
            "the machine that submits says nothing of those that measure; say what they are, or "
            "run `snakemake throughput` on one of them first"
        )
        return ["throughput", unnamed[0]], MISSING, problem
    return None


def gpu_memory_gib() -> list[float]:
    """GiB of every GPU that jobs on this machine may use; none where nothing tells."""
    return [gib for _, gib in gpus.here()]


def _no_kernel(work: Iterable[tuple[str, Any]], config: Any) -> Refusal | None:
    """Why no four-bit checkpoint would run here, told before what it is made from is trained."""
    lacking = kernels.four_bit_lacks("cuda") if uses_gpu(config) else None
    for _, told in work if lacking else ():
        recipe = told.get("recipe")
        made = told.get("compressor") or (recipe and Recipe.parse(recipe).compressor)
        if made and made.endswith("_int4"):
            problem = f"{made} needs {lacking} on a GPU; install that, or leave {made} out"
            return ["compress", "methods"], config.compress.methods, problem
    return None


def _overlong(task: str, told: Any, needs: Needs) -> Refusal | None:
    """Why a job would not end in the time that a cluster gives it."""
    config = needs.config
    most, key = config.compute.longest_minutes, ["compute", "longest_minutes"]
    if most is None or told.get("model") not in config.models:
        return None
    # What nobody has counted yet is no reason to refuse.
    need = SLOW_START + needs.expected_minutes(task, told, demand.TRAIN)
    if need <= SAFE * most:
        return None
    problem = (
        f"{task} of {told['model']} on {told.get('domain', 'no domain')} is expected to take "
        f"{need:.0f} minutes and should take no more than {SAFE:.0%} of these; more processes, "
        "fewer documents or a longer partition"
    )
    return key, most, problem


def _shortfall(
    task: str, name: str, chain: str | None, needs: Needs, there: Sequence[float]
) -> Refusal | None:
    """Why this machine does not do for a job on a model; `there`: GiB of each of its GPUs."""
    need, have, config = needs.of(task, name, chain), memory_bytes() // MIB, needs.config
    least, compute = need.memory.host_mib // (2 if task == "measure" else 1), config.compute
    if least > have and not (task == "measure" and uses_gpu(config)):
        problem = (
            f"{task} of {name} needs about {least:,} MiB of memory, this machine has {have:,} MiB; "
            "ask for a target that does without, or run where there is more"
        )
        if name in config.models:
            return ["models", name, "parameters"], config.models[name].parameters, problem
        return ["throughput", "shapes"], config.throughput.shapes, problem
    if not need.memory.gpu:
        return None
    if not there:  # there may be some, and nothing tells of them
        problem = "this machine has no GPU (nvidia-smi names none)"
        return None if gpus.gpus_present() else (["compute", "device"], compute.device, problem)
    if (count := need.shared.count) > len(there):
        problem = f"this machine has {len(there)} GPUs, {task} of {name} is shared by {count}"
        return ["compute", "processes"], compute.processes, problem
    return _overfull(task, name, chain, needs, min(there), "this machine's")


def _overfull(
    task: str, name: str, chain: str | None, needs: Needs, gib: float, whose: str
) -> Refusal | None:
    """Why a job does not fit on its GPUs, which have so many GiB."""
    need, config = needs.of(task, name, chain).memory.gpu_gib, needs.config
    if need <= gib:
        return None
    problem = (
        f"{task} of {config.models[name].label} takes about {need:.0f} GiB on each GPU and {whose} "
        f"have {gib:.0f}; `make plan` says what fits (processes, offload, weights_on)"
    )
    return ["compute", "processes"], config.compute.processes, problem
