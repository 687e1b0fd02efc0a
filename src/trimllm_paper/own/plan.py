"""Sizes of a run on one's own data: splits by the number of documents, and a training budget that
fits the time and this machine, by the pipeline's own plan."""

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

from trimllm.base.errors import UserError
from trimllm.base.machine import memory_bytes, usable_cores
from trimllm_paper import plan
from trimllm_paper.plan import Job

FEWEST = 100  # documents that can be split into training, calibration, held-back and test ones
# Shares of the documents that are tests (at most 400), and of the rest that are held back (at most
# 200) and a calibration pool (192); documents of a scan.
TESTED, HELD_BACK, POOL, SCANNED = 0.15, 0.15, 0.25, 32
KEPT = (95, 90, 80, 70, 60, 50)  # percent of the sublayers of the checkpoints to choose among
EPOCHS = 10  # of a chain, about; the first drops nothing
MOST, LEAST = 4096, 64  # documents a pass of fine-tuning; a pass between drops takes half of them


class Sizes(NamedTuple):
    """Documents of every split, and sublayers dropped."""

    tests: int
    held_back: int
    pool: int
    scanned: int
    step: int
    kept_percent: tuple[float, ...]
    threads: int


def sizes(documents: int, blocks: int) -> Sizes:
    """Sizes by the number of documents, tests included, and the model's blocks."""
    tests = min(400, round(TESTED * documents))
    rest, units = documents - tests, 2 * blocks
    held_back, pool = min(200, int(HELD_BACK * rest)), min(192, int(POOL * rest))
    step = max(1, round(units * (1 - min(KEPT) / 100) / EPOCHS))
    drops = {max(1, round(units * (1 - kept / 100) / step)) * step for kept in KEPT}
    kept = tuple(round(100 * (1 - gone / units), 2) for gone in sorted(drops) if gone < units)
    # Half of the cores each: an epoch and the annealing of a checkpoint run side by side.
    threads = max(1, usable_cores() // 2)
    return Sizes(tests, held_back, pool, min(SCANNED, pool), step, kept, threads)


class Plan(NamedTuple):
    """A budget, and what a run by it takes."""

    documents: int  # a pass of fine-tuning
    jobs: int
    minutes: float
    mib: int  # of memory
    gigabytes: float  # on disk


def between(documents: int) -> int:
    """Documents of a pass between drops."""
    return max(16, documents // 2)


def fitted(jobs: Sequence[Job], config: Any, documents: int, minutes: float) -> Plan:
    """The largest budget whose run takes at most so many minutes, or else the smallest.

    Args:
        jobs: that would run; they are the same for every budget.
        documents: to train on.

    Raises `UserError` for a job that does not fit this machine.
    """
    documents = min(MOST, documents)
    while (plan := planned(jobs, config, documents)).minutes > minutes and documents > LEAST:
        documents = max(LEAST, documents * 3 // 4)
    return plan


def planned(jobs: Sequence[Job], config: Any, documents: int) -> Plan:
    """The plan of a budget."""
    changed = {
        "finetune": config.finetune.model_copy(update={"documents": documents}),
        "trim": config.trim.model_copy(update={"documents": between(documents)}),
    }
    budget = config.model_copy(update=changed)
    run = plan.Plan(jobs, budget)
    for problem in run.problems(here=True):
        raise UserError(problem)
    at_once = 1 if run.resources.gpu else max(1, (os.cpu_count() or 1) // budget.compute.threads)
    memory = sorted((run.resources.mem_mb(*one) for one in run.work), reverse=True)
    mib = min(sum(memory[:2]), memory_bytes() >> 20)
    # Speed is measured while nothing else runs.
    timed = zip(run.work, run.seconds, strict=True)
    measuring = sum(seconds for (task, _), seconds in timed if task == "measure")
    minutes = (run.wall_seconds(min(at_once, 2)) + measuring) / 60
    return Plan(documents, len(jobs) + 1, minutes, mib, run.disk_bytes(2) / 1e9)
