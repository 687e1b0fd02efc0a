"""What the rules ask for their jobs, `told` the wildcards: memory, time, and why one cannot run.

How much a job takes is in `demand`.
"""

from __future__ import annotations

import itertools
import math
import os
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from trimllm.base.files import read_json
from trimllm.base.machine import memory_bytes
from trimllm.throughput.shapes import parameters
from trimllm_paper import demand
from trimllm_paper.config import MISSING
from trimllm_paper.demand import MIB, memory, processes, seconds, uses_gpu
from trimllm_paper.recipe import Paths, variant_name
from trimllm_paper.shapes import RANDOM

TASKS = {name: name for name in ("scan", "full_ft", "sparse_ft", "compress", "evaluate", "measure")}
TASKS |= {"fetch_model": "fetch", "drop_at_once": "sparse_ft", "trim_epoch": "trim"}
TASKS |= {"export": "evaluate"}
"""Start of a rule's name -> what its jobs do with a model."""
# Training documents where nobody has counted: the largest domain, MedMCQA, has 183,000.
MANY = 200_000
# Time limits: so many times the expected time, and minutes for a slow start.
MARGIN, SLOW_START = 4, 10

Refusal = tuple[list[Any], Any, str]
"""Key of the configuration, its value, and what is wrong with it."""


def task_of(rule: str) -> str | None:
    """What the jobs of a rule do with a model, or None if they have none."""
    return next((task for start, task in TASKS.items() if rule.startswith(start)), None)


def model_of(config: Any, name: str) -> Any:
    """A model of the configuration, or the size of a shape that is timed."""
    if name in config.models:
        return config.models[name]
    return SimpleNamespace(parameters=parameters(name.removeprefix(RANDOM)))


def ratio_of(config: Any, name: str | None) -> float | None:
    """Sparse update ratio of a chain; None, the main chain's, for what is none."""
    if name in config.recipes:
        return config.recipes[name].ratio
    tried = itertools.product(config.tables.criteria, config.tables.ratios)
    named = ((variant_name(config.recipes, *one, config.main.step), one[1]) for one in tried)
    return next((ratio for found, ratio in named if found == name), None)


def trained_documents(results: str, domain: str | None) -> int | None:
    """Training documents of a domain that is prepared; None where it is not."""
    report = Path(Paths(results).data(domain or ""))
    return (
        read_json(report)["splits"].get("train", {}).get("documents") if report.is_file() else None
    )


def mem_mb(task: str, config: Any, told: Any, attempt: int = 1) -> int:
    """MiB that a job reserves; half as much more after each attempt that was killed. Two models are
    timed one after the other where memory is short."""
    model, ratio = model_of(config, told.get("model")), ratio_of(config, told.get("name"))
    need = _again(memory(task, model, config, ratio).host_mib, attempt)
    return min(need, memory_bytes() // MIB) if task == "measure" else need


def runtime(task: str, config: Any, told: Any, attempt: int = 1) -> int:
    """Time limit of a job, minutes, likewise. What nobody has counted is taken for large."""
    domain, tested = told.get("domain"), config.tested
    expected = tested[domain].expected if domain in tested and task != "evaluate" else None
    prepared = trained_documents(config.results, domain) or getattr(expected, "train", None)
    need = seconds(
        task,
        model_of(config, told.get("model")),
        config,
        ratio=ratio_of(config, told.get("name")),
        expected=expected,
        prepared=prepared or MANY,
        tests=max((len(one.tests) for one in tested.values()), default=1),
    )
    return _again(SLOW_START + math.ceil(MARGIN * need / 60), attempt)


def _again(need: int, attempt: int) -> int:
    return math.ceil(need * (1 + 0.5 * (attempt - 1)))


def gpu_memory_gib() -> list[float]:
    """GiB of every GPU that jobs on this machine may use; none where nothing tells."""
    command = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    found = [float(line) / 1024 for line in run.stdout.split()]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return found if visible is None else found[: len([v for v in visible.split(",") if v.strip()])]


def refusal(jobs: Iterable[tuple[str, Any]], config: Any, here: bool) -> Refusal | None:
    """Why jobs cannot run: the first problem, or None.

    Args:
        jobs: rule and wildcards of each.
        here: jobs run on this machine, whose memory and GPUs must do. Those of a cluster that
            measure must be named, since who submits says nothing of them.
    """
    asked = {
        (task, told.get("model"), ratio_of(config, told.get("name")))
        for rule, told in jobs
        if (task := task_of(rule))
    }
    if here:
        gpus = gpu_memory_gib() if asked and uses_gpu(config) else []
        found = (_shortfall(*one, config, gpus) for one in sorted(asked, key=str))
        return next(filter(None, found), None)
    unnamed = [key for key in ("hardware", "threads") if getattr(config.throughput, key) is None]
    if unnamed and any(task == "measure" for task, *_ in asked):
        problem = (
            "the machine that submits says nothing of those that measure; say what they are, or "
            "run `snakemake throughput` on one of them first"
        )
        return ["throughput", unnamed[0]], MISSING, problem
    return None


def _shortfall(
    task: str, name: str, ratio: float | None, config: Any, gpus: Sequence[float]
) -> Refusal | None:
    """Why this machine does not do for a job on a model; `gpus`: GiB of each."""
    need, have = memory(task, model_of(config, name), config, ratio), memory_bytes() // MIB
    least, compute = need.host_mib // (2 if task == "measure" else 1), config.compute
    if least > have and not (task == "measure" and uses_gpu(config)):
        problem = (
            f"{task} of {name} needs about {least:,} MiB of memory, this machine has {have:,} MiB; "
            "ask for a target that does without, or run where there is more"
        )
        if name in config.models:
            return ["models", name, "parameters"], config.models[name].parameters, problem
        return ["throughput", "shapes"], config.throughput.shapes, problem
    if not need.gpu:
        return None
    if not gpus:  # there may be some, and nothing tells of them
        problem = "this machine has no GPU (nvidia-smi names none)"
        return None if demand.gpus() else (["compute", "device"], compute.device, problem)
    if processes(task, config) > len(gpus):
        problem = f"this machine has {len(gpus)} GPUs, a process needs its own"
    elif need.gpu_gib > min(gpus):
        problem = (
            f"{task} of {config.models[name].label} takes about {need.gpu_gib:.0f} GiB on each GPU "
            f"and this machine's have {min(gpus):.0f}; `make plan` says what fits (processes, "
            "offload, weights_on)"
        )
    else:
        return None
    return ["compute", "processes"], compute.processes, problem
