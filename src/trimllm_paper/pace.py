"""How long a run will still take: by what its jobs were planned to, and how fast they went."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from trimllm.base.errors import UserError
from trimllm_paper import estimate
from trimllm_paper.recipe import place_of

TRUST = 0.05
"""The plan weighs as much as this share of a run would that had gone as planned."""


@dataclass(frozen=True)
class Pace:
    """A run as it was planned.

    Attributes:
        seconds: of each job, by its number.
        wall: seconds of all of them, as many at once as may be.
    """

    seconds: Mapping[int, float]
    wall: float

    def left(self, done: Collection[int], spent: float) -> float:
        """Seconds until the other jobs are done, after `spent` seconds of some."""
        whole = sum(self.seconds.values())
        finished = sum(self.seconds.get(number, 0.0) for number in done)
        slower = (spent + TRUST * self.wall) / ((finished + TRUST * whole) or 1.0)
        return slower * (whole - finished)


@dataclass(frozen=True)
class Planned:
    """A job that is about to run: its rule, its results, and the numbers of what it waits for."""

    rule: str
    results: Sequence[str]
    waits: Collection[int]


def pace_of(config: Any, jobs: Mapping[int, Planned], cores: int | None) -> Pace:
    """The pace of jobs, by their numbers, on so many cores (None: a cluster's, all at once)."""
    found = estimate.Estimate(config)
    same = {number: _job(one) for number, one in jobs.items()}
    waits = {
        same[number]: {same[at] for at in one.waits if at in same} for number, one in jobs.items()
    }
    alone = 3600 * found.hours(waits) / cores if cores and not found.gpu else 0.0
    seconds = {number: found.seconds(job) for number, job in same.items()}
    return Pace(seconds, max(alone, found.longest(waits)))


def _job(one: Planned) -> estimate.Job:
    places = []
    for path in one.results:
        with suppress(UserError):  # tables and logs
            places.append(place_of(path))
    tasks = tuple(sorted({place.task for place in places}))
    return estimate.Job(one.rule, next(iter(places), None), str(next(iter(one.results), "")), tasks)


current: Pace | None = None
"""The pace of the run of this process, if anybody has planned it."""


def begin(config: Any, jobs: Mapping[int, Planned], cores: int | None) -> None:
    """From now on this process's run has a pace."""
    global current
    current = pace_of(config, jobs, cores)
