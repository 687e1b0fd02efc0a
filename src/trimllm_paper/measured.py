"""What results/eval holds: one JSON a measurement, gathered into the columns of a table.

The path `.../eval/{model}/{domain}/{recipe}/{task}.json` names the measurement; the file must
agree with it. A column may consist of several tasks: its accuracy is the mean over all their
documents, so a task counts by its number of documents. Runs under several seeds, each in a folder
of its own, are pooled the same way.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from trimllm.base.errors import UserError
from trimllm.base.files import check_seal, read_json
from trimllm.base.intervals import Difference, paired_difference, unpaired_difference, wilson

TRIM = re.compile(
    r"trim_(?P<criterion>[a-z_]+)_r(?P<ratio>[0-9.]+)_d(?P<drops>\d+)/drop_(?P<dropped>\d+)"
)
"""Recipe of a trimmed checkpoint: criterion, sparse-update ratio, drops an epoch, drops so far."""


@dataclass(frozen=True)
class Measurement:
    """One evaluation: a checkpoint on the documents of one task."""

    model: str
    domain: str
    recipe: str
    task: str
    correct: tuple[int, ...]
    documents: str | None  # hash over the documents' hashes: equal where documents are equal
    weight_bytes: int | None
    full_bytes: int | None  # of the pretrained checkpoint
    units_kept: int | None
    units_total: int | None
    chance: float | None  # percent
    stand_in: str | None
    provenance: dict[str, Any]
    source: str

    @property
    def seed(self) -> int | None:
        """Seed of the run that it belongs to."""
        return self.provenance.get("seed")


def read_measurement(path: str | Path) -> Measurement:
    """Read one evaluation and check it against its path and against itself.

    Raises `UserError` for a file that is missing, incomplete, moved, or edited by hand.
    """
    path = Path(path)
    remedy = "delete it and evaluate again"
    parts = path.parts
    at = len(parts) - 1 - parts[::-1].index("eval") if "eval" in parts else len(parts)
    if len(parts) - at < 5:
        raise UserError(f"{path} is not of the form eval/MODEL/DOMAIN/RECIPE/TASK.json")
    named = {"domain": parts[at + 2], "recipe": "/".join(parts[at + 3 : -1]), "task": path.stem}
    content = read_json(path)
    if not isinstance(content, dict) or not {"n", "acc", "correct"} <= content.keys():
        raise UserError(f"{path} is no evaluation (n, acc or correct is missing); {remedy}")
    check_seal(path, content)
    for key, value in named.items():
        if content.get(key, value) != value:
            raise UserError(
                f"{path} says {key} {content[key]!r} but lies under {value!r}; {remedy}"
            )
    correct = tuple(int(answer) for answer in content["correct"])
    if len(correct) != content["n"] or not correct or not set(correct) <= {0, 1}:
        raise UserError(
            f"{path}: `correct` is not a list of n = {content['n']} 0s and 1s; {remedy}"
        )
    if abs(100 * sum(correct) / len(correct) - content["acc"]) > 0.01:
        raise UserError(f"{path}: acc {content['acc']} is not the mean of `correct`; {remedy}")
    return Measurement(
        model=parts[at + 1],
        **named,
        correct=correct,
        documents=content.get("document_hashes_sha256"),
        weight_bytes=content.get("bytes"),
        full_bytes=content.get("bytes_full"),
        units_kept=content.get("units_kept"),
        units_total=content.get("units_total"),
        chance=content.get("chance"),
        stand_in=content.get("stand_in"),
        provenance=content.get("provenance") or {},
        source=path.as_posix(),
    )


@dataclass(frozen=True)
class Accuracy:
    """One recipe on one column: its tasks in order, seed after seed, pooled."""

    tasks: tuple[Measurement, ...]

    @property
    def n(self) -> int:
        """Documents of all tasks."""
        return sum(len(task.correct) for task in self.tasks)

    @property
    def right(self) -> int:
        """Documents that were answered correctly."""
        return sum(sum(task.correct) for task in self.tasks)

    @property
    def percent(self) -> float:
        """Mean accuracy over all documents, that is the n-weighted mean of the tasks."""
        return 100 * self.right / self.n

    @property
    def ci95(self) -> tuple[float, float]:
        """Wilson interval of the pooled documents, in percent."""
        return wilson(self.right, self.n)

    @property
    def by_seed(self) -> dict[int | None, float]:
        """Mean accuracy of every seed, in percent."""
        answers: dict[int | None, list[int]] = {}
        for task in self.tasks:
            answers.setdefault(task.seed, []).extend(task.correct)
        return {seed: 100 * sum(each) / len(each) for seed, each in answers.items()}

    @property
    def deviation(self) -> float | None:
        """Standard deviation of the seeds' accuracies (n - 1), in points; None for one seed."""
        values = tuple(self.by_seed.values())
        return stdev(values) if len(values) > 1 else None

    @property
    def stand_in(self) -> str | None:
        """What the documents really are, where they are not the column's own data set."""
        names = dict.fromkeys(task.stand_in for task in self.tasks if task.stand_in)
        return "; ".join(names) or None

    @property
    def chance(self) -> float | None:
        """Expected percent of blind guessing, pooled like the accuracy."""
        if any(task.chance is None for task in self.tasks):
            return None
        return sum(len(task.correct) * (task.chance or 0) for task in self.tasks) / self.n

    @property
    def sources(self) -> tuple[str, ...]:
        """The files behind the number."""
        return tuple(task.source for task in self.tasks)

    @property
    def bytes_percent(self) -> float | None:
        """Weight bytes of the checkpoint in percent of the pretrained model's."""
        return self._mean(
            lambda one: (
                100 * one.weight_bytes / one.full_bytes
                if one.weight_bytes and one.full_bytes
                else None
            )
        )

    @property
    def megabytes(self) -> float | None:
        """Weights of the checkpoint in 10⁶ bytes."""
        return self._mean(lambda one: one.weight_bytes / 1e6 if one.weight_bytes else None)

    @property
    def kept_percent(self) -> float | None:
        """Units kept in percent of all units: the paper's compression percentage."""
        return self._mean(
            lambda one: (
                100 * one.units_kept / one.units_total
                if one.units_kept is not None and one.units_total
                else None
            )
        )

    def _mean(self, value: Callable[[Measurement], float | None]) -> float | None:
        """Mean over the seeds' checkpoints, which differ in the units dropped."""
        first = {task.seed: task for task in reversed(self.tasks)}
        values = [found for one in first.values() if (found := value(one)) is not None]
        return fmean(values) if values else None

    def minus(self, other: Accuracy) -> Difference:
        """Own minus other accuracy; paired where both answered the very same documents."""
        same = [(task.task, task.documents, len(task.correct)) for task in self.tasks] == [
            (task.task, task.documents, len(task.correct)) for task in other.tasks
        ]
        if same and all(task.documents for task in self.tasks):
            return paired_difference(
                [answer for task in self.tasks for answer in task.correct],
                [answer for task in other.tasks for answer in task.correct],
            )
        return unpaired_difference((self.right, self.n), (other.right, other.n))


class Results:
    """All measurements that a table may use, found by model, domain and recipe."""

    def __init__(self, paths: Iterable[str | Path]) -> None:
        # (model, domain, recipe) -> task -> seed
        self._found: dict[tuple[str, str, str], dict[str, dict[int | None, Measurement]]] = {}
        self.measurements = tuple(read_measurement(path) for path in sorted(map(Path, paths)))
        for one in self.measurements:
            tasks = self._found.setdefault((one.model, one.domain, one.recipe), {})
            seeds = tasks.setdefault(one.task, {})
            if one.seed in seeds:
                other = seeds[one.seed].source
                raise UserError(f"{one.source} and {other} measure the same; give one of them")
            seeds[one.seed] = one

    def accuracy(
        self, model: str, domain: str, recipe: str, tasks: Sequence[str] | None = None
    ) -> Accuracy | None:
        """The measured column over all seeds that have every one of its tasks, or None.

        `tasks` None takes whatever tasks were measured.
        """
        found = self._found.get((model, domain, recipe), {})
        wanted = sorted(found) if tasks is None else tasks
        if not wanted or any(task not in found for task in wanted):
            return None
        shared = set.intersection(*(set(found[task]) for task in wanted))
        seeds = sorted(shared, key=lambda seed: (seed is None, seed))
        return Accuracy(tuple(found[task][s] for s in seeds for task in wanted)) if seeds else None

    def chain(
        self, model: str, domain: str, criterion: str, *, ratio: float, drops_per_epoch: int
    ) -> list[str]:
        """Recipes of the evaluated checkpoints of one trim run, the least trimmed first."""
        found = []
        for m, d, recipe in self._found:
            match = TRIM.fullmatch(recipe)
            if (m, d) != (model, domain) or not match or match["criterion"] != criterion:
                continue
            if (float(match["ratio"]), int(match["drops"])) == (ratio, drops_per_epoch):
                found.append((int(match["dropped"]), recipe))
        return [recipe for _, recipe in sorted(found)]

    def recipes(self, model: str, domain: str) -> list[str]:
        """Recipes of a model's checkpoints of a domain that were evaluated, in order."""
        return sorted(recipe for m, d, recipe in self._found if (m, d) == (model, domain))

    def trimmed(
        self,
        model: str,
        domain: str,
        criterion: str,
        kept_percent: float,
        *,
        ratio: float | None = None,
        drops_per_epoch: int | None = None,
    ) -> str | None:
        """Recipe of the evaluated checkpoint that stands for a kept fraction, or None.

        Kept fractions of N units lie 100 / N percent apart: the nearest checkpoint less than that
        away is meant (40% of 64 units are 25.6, so 26), the larger of two equally near.
        Raises `UserError` when runs with several ratios or drops an epoch would qualify.
        """
        nearest: dict[tuple[str, str], tuple[float, float, str]] = {}
        for (m, d, recipe), tasks in self._found.items():
            match = TRIM.fullmatch(recipe)
            if (m, d) != (model, domain) or not match or match["criterion"] != criterion:
                continue
            one = next(iter(next(iter(tasks.values())).values()))
            if ratio not in (None, float(match["ratio"])) or not one.units_total:
                continue
            if drops_per_epoch not in (None, int(match["drops"])):
                continue
            kept = 100 * (one.units_kept or 0) / one.units_total
            if abs(kept - kept_percent) < 100 / one.units_total - 1e-9:
                run = (match["ratio"], match["drops"])
                this = (abs(kept - kept_percent), -kept, recipe)
                nearest[run] = min(this, nearest.get(run, this))
        if len(nearest) > 1:
            names = ", ".join(sorted(recipe for _, _, recipe in nearest.values()))
            raise UserError(
                f"{model}, {domain}: {names} all stand for {kept_percent:g}% by {criterion}; "
                "name the ratio and the drops per epoch"
            )
        return next(iter(nearest.values()))[2] if nearest else None
