"""Everything that claims are checked on: evaluations, records, trainings, throughput of a model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from trimllm_paper.chains import Chain, Run, checkpoints, read_chain
from trimllm_paper.cost import Measured, measured
from trimllm_paper.measured import Accuracy, Results
from trimllm_paper.timings import Timing, Timings
from trimllm_paper.verdict import KEEPS


class Evidence:
    """What was measured of one model.

    Args:
        evals, records, trainings, benchmarks: files, as for the figures.
        model: name, label, published.
        domains: name, label, tasks, stand_in.
        run: the chains that the paper's claims on r = 1/4 are checked on.
    """

    def __init__(
        self,
        evals: Iterable[str | Path],
        records: Iterable[str | Path],
        trainings: Iterable[str | Path],
        benchmarks: Iterable[str | Path],
        model: Mapping[str, Any],
        domains: Sequence[Mapping[str, Any]],
        run: Run,
    ) -> None:
        self.results, self.timings = Results(evals), Timings(benchmarks)
        self.all_chains = [read_chain(path) for path in sorted(map(str, records))]
        self._trainings = sorted(map(str, trainings))
        self.model, self.domains, self.run = model, domains, run

    @property
    def name(self) -> str:
        """The model's name in paths."""
        return self.model["name"]

    @property
    def own(self) -> bool:
        """Whether model and all data are the paper's own."""
        return bool(self.model.get("published")) and not any(
            domain.get("stand_in") for domain in self.domains
        )

    @property
    def sources(self) -> list[str]:
        """Every file that was read."""
        return [
            *(one.source for one in self.results.measurements),
            *(one.source for one in self.all_chains),
            *self._trainings,
            *(one.source for one in self.timings.timings),
        ]

    @property
    def seeds(self) -> list[int]:
        """Seeds of the runs that were evaluated."""
        return sorted({one.seed for one in self.results.measurements} - {None})

    def accuracy(self, domain: str, recipe: str) -> Accuracy | None:
        """Accuracy of a recipe on its own domain's column."""
        return self.results.accuracy(self.name, domain, recipe, self.tasks(domain))

    def tasks(self, domain: str) -> Sequence[str] | None:
        """Tasks of a domain's column."""
        return next(d for d in self.domains if d["name"] == domain).get("tasks")

    def near(self, domain: str, criterion: str, kept_percent: float) -> Accuracy | None:
        """The checkpoint of the run that stands for a kept fraction."""
        recipe = self.results.trimmed(
            self.name,
            domain,
            criterion,
            kept_percent,
            ratio=self.run.ratio,
            drops_per_epoch=self.run.drops_per_epoch,
        )
        return self.accuracy(domain, recipe) if recipe else None

    def chains(self, criterion: str) -> dict[str, Chain]:
        """Domain -> chain of the run by a criterion."""
        return {one.domain: one for one in self._chains if one.criterion == criterion}

    def furthest(
        self, domain: str, criterion: str, run: Run, at_most: float = 100.0
    ) -> float | None:
        """Share of units dropped (%) of the smallest checkpoint above 90% of Full-FT; 0 for none.

        None where Full-FT or the chain was not evaluated.

        Args:
            at_most: look no further than this share.
        """
        full = self.accuracy(domain, "full_ft")
        shares = self._dropped(domain, criterion, run)
        if full is None or not shares:
            return None
        good = [
            share
            for share, accuracy in shares
            if share <= at_most and accuracy.percent > KEEPS * full.percent
        ]
        return max(good, default=0.0)

    def evaluated(self, domain: str, criterion: str, run: Run) -> list[float]:
        """Shares of units dropped (%) of a chain's evaluated checkpoints."""
        return [share for share, _ in self._dropped(domain, criterion, run)]

    def _dropped(self, domain: str, criterion: str, run: Run) -> list[tuple[float, Accuracy]]:
        """(share of units dropped in %, accuracy) of a chain's evaluated checkpoints."""
        chain = checkpoints(self.results, self.name, domain, self.tasks(domain), criterion, run)
        return [(100 - (accuracy.kept_percent or 100), accuracy) for _, accuracy in chain]

    @cached_property
    def costs(self) -> dict[tuple[str, str], Measured]:
        """(domain, criterion) -> cost of the run's chains."""
        return measured(self._chains, self._trainings)

    @property
    def _chains(self) -> list[Chain]:
        """The chains of the run."""
        return [one for one in self.all_chains if (one.model, one.run) == (self.name, self.run)]

    def speeds(self) -> dict[tuple[str, str], list[Timing]]:
        """(hardware, model) -> measurements, of this model and of shapes with random weights."""
        return {
            (hardware, model): self.timings.of(hardware, model)
            for hardware, model in self.timings.groups()
            if model == self.name or self.timings.of(hardware, model)[0].content["random_weights"]
        }
