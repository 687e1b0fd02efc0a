"""Sizes of a run on one's own data: splits by how many documents there are, and a budget of
training that fits the time and this machine, by the pipeline's own plan.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trimllm.base.errors import UserError
from trimllm.base.machine import memory_bytes, usable_cores
from trimllm_paper import plan
from trimllm_paper.plan import Job

FEWEST = 60
"""Documents that can be split into training, calibration, held-back and test ones."""
TESTED, HELD_BACK, POOL, SCANNED = 0.15, 0.10, 0.25, 32
"""Shares of the documents that are tests, at most 400; of the rest, at most, held back (200) and to
choose units by (192); and how many of these a scan takes."""
KEPT = (95, 90, 80, 70, 60, 50)
"""Percent of the units of the checkpoints that one is chosen among."""
EPOCHS = 10
"""Epochs of a chain, about; the first drops nothing."""
LEVELS = (4096, 2048, 1024, 640, 512, 384, 256, 192, 128, 96, 64)
"""Documents a pass of fine-tuning; a pass between drops takes half of them."""


@dataclass(frozen=True)
class Sizes:
    """Documents of every split, and units dropped."""

    tests: int
    held_back: int
    pool: int
    scanned: int
    step: int
    kept_percent: tuple[float, ...]
    threads: int


def sizes(documents: int, blocks: int) -> Sizes:
    """Sizes by how many documents there are and how many blocks the model has."""
    tests = max(12, min(400, round(TESTED * documents)))
    rest, units = documents - tests, 2 * blocks
    held_back, pool = min(200, int(HELD_BACK * rest)), min(192, int(POOL * rest))
    step = max(1, round(units * (1 - min(KEPT) / 100) / EPOCHS))
    drops = {max(1, round(units * (1 - kept / 100) / step)) * step for kept in KEPT}
    kept = tuple(_percent(units - gone, units) for gone in sorted(drops) if gone < units)
    # Half of the cores each: an epoch and the settling of a checkpoint go side by side.
    threads = max(1, usable_cores() // 2)
    return Sizes(tests, max(4, held_back), max(8, pool), min(SCANNED, pool), step, kept, threads)


def _percent(kept: int, units: int) -> float:
    exact = 100 * kept / units
    return int(exact) if exact.is_integer() else round(exact, 2)


@dataclass(frozen=True)
class Plan:
    """What would run."""

    documents: int
    jobs: int
    minutes: float
    mib: int
    gigabytes: str
    parts: Mapping[str, float]


PARTS = {
    "full_ft": "full fine-tuning",
    "trim": "trimming",
    "settle": "settling the checkpoints",
    "evaluate": "testing them",
    "measure": "measuring their speed",
}


def fitted(jobs: Sequence[Job], config: Any, documents: int, minutes: float) -> Plan:
    """The largest budget whose run takes no longer than so many minutes, or else the smallest.

    Args:
        jobs: that would run; how many documents a pass takes changes none of them.
        config: of these jobs.
        documents: to train on.
    """
    levels = [level for level in LEVELS if level < 2 * documents] or [LEVELS[-1]]
    plans = (planned(jobs, config, min(level, documents)) for level in levels)
    found = None
    for found in plans:
        if found.minutes <= minutes:
            break
    return found  # type: ignore[return-value]  # there is a level


def with_budget(config: Any, documents: int) -> Any:
    """A configuration whose passes take so many documents, those between drops half as many."""
    changed = {
        "finetune": config.finetune.model_copy(update={"documents": documents}),
        "trim": config.trim.model_copy(update={"documents": between(documents)}),
    }
    found = config.model_copy(update=changed)
    found._domains, found._near = config._domains, config._near
    return found


def between(documents: int) -> int:
    """Documents of a pass between drops."""
    return max(16, documents // 2)


def planned(jobs: Sequence[Job], config: Any, documents: int) -> Plan:
    """What a budget takes. Raises `UserError` where a job does not fit this machine."""
    config = with_budget(config, documents)
    if problem := plan.refusal(jobs, config, here=True):
        raise UserError(problem[2])
    run = plan.Plan(jobs, config)
    at_once = 1 if run.resources.gpu else max(1, (os.cpu_count() or 1) // config.compute.threads)
    memory = sorted((run.resources.mem_mb(*one) for one in run.work), reverse=True)
    parts = {
        name: sum(s for (task, _), s in zip(run.work, run.seconds, strict=True) if task == one) / 60
        for one, name in PARTS.items()
    }
    return Plan(
        documents,
        len(jobs) + 1,
        math.ceil((run.wall_seconds(min(at_once, 2)) / 60 + parts[PARTS["measure"]]) * 10) / 10,
        min(sum(memory[:2]), memory_bytes() >> 20),
        f"{run.disk_bytes(2) / 1e9:.1f}",
        parts,
    )


def needs(tests_apart: bool) -> list[dict[str, int]]:
    """How many documents the file needs, by what for, and then a file of tests, if there is one."""
    least = sizes(FEWEST, blocks=1)
    tests = {"to test": least.tests}
    rest = {"held back to choose a model by": least.held_back, "to choose units by": least.pool}
    parts = rest if tests_apart else tests | rest
    whole = parts | {"to train": FEWEST - sum(parts.values())}
    return [whole, tests] if tests_apart else [whole]


def enough(documents: int, rows: int, path: Path, parts: Mapping[str, int]) -> None:
    """Raise `UserError` for too few documents, which says how many are needed and what for.

    Args:
        documents: that differ, of so many rows of a file.
        parts: as `needs` has them.
    """
    if documents < (least := sum(parts.values())):
        told = ", ".join(f"{count} {purpose}" for purpose, count in parts.items())
        raise UserError(
            f"{path}: {documents} different documents in {rows} rows are too few; {least} are "
            f"needed: {told}"
        )
