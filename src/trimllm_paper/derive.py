"""Numbers made of others: pooled accuracies, what a chain dropped, what training costs.

Tables, figures and claims take their numbers from here and from the frames, never from files.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from operator import add
from statistics import fmean, stdev
from typing import Any

import pandas as pd

from trimllm.base.names import ANSWER_CRITERION
from trimllm_paper import published
from trimllm_paper.frames import Frame, rows, where
from trimllm_paper.intervals import (
    Difference,
    accuracy_interval,
    paired_difference,
    unpaired_difference,
)

KINDS = ("attention", "mlp")
PAPER_UNITS = published.UNITS["llama-7b"]
SPARSE_FACTOR = 0.6
"""Time of a sparse update over full fine-tuning that the paper reads from its Table 9."""
FULL_EPOCHS = 5
"""Epochs of full fine-tuning that the paper compares with."""


class Accuracy:
    """One recipe on one column, pooled over its documents: tasks in order, seed after seed.

    A column may consist of several tasks, each counts by its number of documents; so do several
    seeds' runs.

    Attributes:
        tasks: rows of `Frame.evaluations`, and `sources`, their files.
        n, percent, ci95: answers, the share that is right (of free answers, which hardly ever match
            exactly, the F1 of words), and its interval over documents and seeds together
            (`trimllm_paper.intervals`).
        asked: by seed, which documents of which tasks.
        same, documents: whether all seeds answered the same documents, and how many there are.
        by_seed, deviation: percent of each seed, and their standard deviation (n - 1) in points;
            None for one seed.
        chance: percent that blind guessing gets, None where it is not known.
        answer_loss: nats a token of the right answers, None where it was not recorded.
        free: of free answers exact_match, token_f1 and rouge_l in percent and the perplexity of
            the references; else nothing.
        stand_in: what the documents are, where they are not the column's own data set.
        bytes_percent, megabytes, kept_percent: of the checkpoint: weight bytes in percent of the
            pretrained model's and in 10⁶, units in percent of all (the paper's compression
            percentage); means over the seeds' checkpoints, which differ in the units dropped.
    """

    def __init__(self, tasks: Sequence[Any]) -> None:
        self.tasks = tuple(tasks)
        self.sources = tuple(task.source for task in tasks)
        self.n = sum(task.n for task in tasks)
        self.percent = 100 * sum(sum(task.scores) for task in tasks) / self.n
        seeds: dict[int, list[Any]] = {}
        for task in tasks:
            seeds.setdefault(task.seed, []).append(task)
        self.answers = [[a for task in own for a in task.scores] for own in seeds.values()]
        self.asked = {
            seed: tuple((t.task, t.documents, t.n) for t in own) for seed, own in seeds.items()
        }
        self.same = len({*self.asked.values()}) == 1
        self.documents = len(self.answers[0]) if self.same else self.n
        self.ci95 = accuracy_interval(self.answers, same=self.same)
        self.by_seed = dict(zip(seeds, (100 * fmean(one) for one in self.answers), strict=True))
        self.deviation = stdev(self.by_seed.values()) if len(seeds) > 1 else None
        self.chance, self.answer_loss = self._mean("chance"), self._mean("answer_loss")
        free = {name: self._mean(name) for name in ("exact_match", "token_f1", "rouge_l")}
        free["perplexity"] = math.exp(min(self.answer_loss or 0.0, 700.0))
        self.free = free if free["token_f1"] is not None else {}
        self.stand_in = "; ".join(dict.fromkeys(t.stand_in for t in tasks if t.stand_in)) or None
        checkpoints = [own[0] for own in seeds.values()]
        self.bytes_percent = fmean(one.bytes_percent for one in checkpoints)
        self.megabytes = fmean(one.bytes / 1e6 for one in checkpoints)
        self.kept_percent = fmean(one.kept_percent for one in checkpoints)

    def _mean(self, field: str) -> float | None:
        """Mean over the documents of what each task has one of; None if a task has none."""
        values = [getattr(task, field, None) for task in self.tasks]
        if any(value is None for value in values):
            return None
        return sum(t.n * value for t, value in zip(self.tasks, values, strict=True)) / self.n

    @property
    def at_chance(self) -> bool:
        """Whether blind guessing does as well, as far as the interval tells."""
        return self.chance is not None and self.ci95[0] <= self.chance

    def minus(self, other: Accuracy, share: float = 1.0) -> Difference:
        """Own minus `share` times other accuracy.

        Paired, and of the seeds under which both answered the very same documents, where there are
        any; without one, paired where they answered the same under as many other seeds.
        """
        if shared := sorted(s for s, own in self.asked.items() if other.asked.get(s) == own):
            both = [dict(zip(one.asked, one.answers, strict=True)) for one in (self, other)]
            mine, theirs = ([answers[seed] for seed in shared] for answers in both)
            one_list = len({self.asked[seed] for seed in shared}) == 1
            return paired_difference(mine, theirs, share, same=one_list)
        if [*self.asked.values()] == [*other.asked.values()]:
            return paired_difference(self.answers, other.answers, share, same=self.same)
        same = self.same, other.same
        return unpaired_difference(self.answers, other.answers, share, same=same)


def accuracy(
    frame: Frame, model: str, domain: str, recipe: str, tasks: Sequence[str] | None = None
) -> Accuracy | None:
    """The measured column over all seeds that have every one of its tasks, or None.

    `tasks` None takes whatever tasks were measured.
    """
    found = {(row.task, row.seed): row for row in frame.by_recipe.get((model, domain, recipe), ())}
    wanted = sorted({task for task, _ in found}) if tasks is None else tasks
    seeds = sorted({s for _, s in found if all((task, s) in found for task in wanted)})
    column = [found[task, seed] for seed in seeds for task in wanted]
    return Accuracy(column) if column else None


def checkpoints(
    frame: Frame,
    model: str,
    domain: str,
    name: str,
    tasks: Sequence[str] | None = None,
    compressor: str | None = None,
) -> list[tuple[int, Accuracy]]:
    """(units dropped, accuracy) of every evaluated checkpoint of a chain, fewest drops first.

    With `compressor` the checkpoints that were compressed by it afterwards.
    """
    chain = {"model": model, "domain": domain, "name": name, "compressor": compressor}
    found = where(frame.evaluations, **chain).sort_values("dropped").drop_duplicates("recipe")
    columns = [
        (one.dropped, accuracy(frame, model, domain, one.recipe, tasks)) for one in rows(found)
    ]
    return [(dropped, column) for dropped, column in columns if column]


def near(table: pd.DataFrame, kept_percent: float) -> pd.DataFrame:
    """The rows (evaluations, timings) that stand for a kept fraction, the nearest first.

    Kept fractions of N units lie 100 / N percent apart: what is less than that away is meant (40%
    of 64 units are 25.6, so 26), of two equally near the larger one.
    """
    away = (table.kept_percent - kept_percent).abs()
    found = table.assign(away=away)[away < 100 / table.units_total - 1e-9]
    order = found.sort_values(["away", "kept_percent", "recipe"], ascending=[True, False, True])
    return order.drop(columns="away")


def nearest(frame: Frame, model: str, domain: str, name: str, kept_percent: float) -> str | None:
    """Recipe of a chain's evaluated checkpoint that stands for a kept fraction, or None."""
    chain = {"model": model, "domain": domain, "name": name, "compressor": None}
    found = near(where(frame.evaluations, **chain).drop_duplicates("recipe"), kept_percent)
    return None if found.empty else found.recipe.iloc[0]


def trimmed_timings(
    frame: Frame, hardware: str, model: str, kept_percent: float, compressor: str | None = None
) -> dict[str, Any]:
    """Timings of trimmed models of about so many units, by chain or pattern, in order."""
    timed = where(frame.timings, hardware=hardware, model=model, base="trim", compressor=compressor)
    return {row.name: row for row in rows(near(timed, kept_percent).sort_index())}


Ratio = tuple[float, float, float]
"""A ratio and its lower and upper quartile."""


def speedup(timing: Any) -> Ratio:
    """Of a measurement, over the full model, whose own is 1."""
    low, high = timing.speedup_low, timing.speedup_high
    whole = timing.speedup
    return whole, whole if low is None else low, whole if high is None else high


def over(timing: Any, other: Any) -> Ratio:
    """How many times as fast one is as the other, each measured in turn with the full model."""
    (own, low, high), (theirs, their_low, their_high) = speedup(timing), speedup(other)
    return own / theirs, low / their_high, high / their_low


@dataclass(frozen=True)
class DropCounts:
    """Dropped units by kind (attention, mlp).

    `clear`: chosen by the first score alone. `tied`: chosen among equals by the tie-break.
    `even`: what `tied` would be on average if it were drawn from the equals by lot.
    """

    clear: dict[str, int]
    tied: dict[str, int]
    even: dict[str, float]

    def total(self, kind: str) -> int:
        """Dropped units of a kind, ties included."""
        return self.clear[kind] + self.tied[kind]


@dataclass(frozen=True)
class Chain:
    """One trim run under one seed; `epochs` are rows of `Frame.epochs`, epoch 0 first.

    What these agree in is told by the chain, too: results, model, domain, name, criterion, ratio,
    step, seed, units_total.
    """

    epochs: tuple[Any, ...]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.epochs[0], name)

    @property
    def blocks(self) -> int:
        """Decoder blocks of the untrimmed model."""
        return self.units_total // 2

    @property
    def sources(self) -> tuple[str, ...]:
        """The files behind it."""
        return tuple(epoch.source for epoch in self.epochs)

    @property
    def halved(self) -> bool:
        """Whether it went as far as whole epochs go in half of the units."""
        return bool(self.epochs[-1].dropped + self.step > self.units_total // 2)

    def until(self, at_most: int | None) -> list[Any]:
        """Its whole epochs up to `at_most` drops; None: all."""
        return [one for one in self.epochs if at_most is None or one.dropped <= at_most]

    def dropped(self, at_most: int | None = None) -> list[tuple[int, str]]:
        """(block, kind) of the units dropped, in order, of whole epochs up to `at_most` drops."""
        return [unit for epoch in self.until(at_most) for unit in epoch.units_dropped]

    def counts(self, at_most: int | None = None) -> DropCounts:
        """Dropped units by kind, and which of them only a tie-break chose.

        The scan's candidates that equal the last unit dropped are a tie when not all of them
        were dropped: which of them went was not decided by the first score.
        """
        clear, tied = dict.fromkeys(KINDS, 0), dict.fromkeys(KINDS, 0)
        even = dict.fromkeys(KINDS, 0.0)
        for epoch in self.until(at_most):
            equals = _equals(epoch)
            broken = equals.intersection(epoch.units_dropped)
            if len(broken) == len(equals):
                broken = set()  # all went: nothing was left to a tie-break
            for unit in epoch.units_dropped:
                (tied if unit in broken else clear)[unit[1]] += 1
            for kind in KINDS:
                share = sum(unit[1] == kind for unit in equals) / max(1, len(equals))
                even[kind] += len(broken) * share
        return DropCounts(clear, tied, even)


def _equals(epoch: Any) -> set[tuple[int, str]]:
    """Candidates whose first score is that of the last unit dropped in an epoch; of a criterion of
    one's own nobody knows."""
    if not epoch.units_dropped or ":" in epoch.criterion:
        return set()
    keys = {"activation_norm": "norm"} | {key: key for key in ("likelihood", ANSWER_CRITERION)}
    key = keys.get(epoch.criterion, "correct")
    scores = {(u["block"], u["kind"]): u[key] for u in epoch.scan["units"] if key in u}
    return {unit for unit, score in scores.items() if score == scores.get(epoch.units_dropped[-1])}


def chains(frame: Frame, **wanted: Any) -> list[Chain]:
    """Chains, such as those of `model=`, `domain=` and `name=`; several where there are seeds."""
    one = ["results", "model", "domain", "name"]
    runs = where(frame.epochs, **wanted).groupby(one, sort=False)
    return [Chain(tuple(rows(run))) for _, run in runs]


def progressive(units: int, dropped: int, step: int) -> float:
    """Epochs of full fine-tuning until `dropped` of `units` units are gone, `step` an epoch.

    One epoch of full fine-tuning trains N units at c each. Until n_d units are dropped, d at a time
    after each epoch, n_d / d epochs train N, N - d, N - 2d, ... units:

        cost(n_d) = c * sum_{i=0}^{n_d/d - 1} (N - d i)        Eq. 5: d = 1, Eq. 6: d = 2

    For N = 64, n_d = 32 and c = 1 Eq. 6 gives 784 = 12.25 epochs, times the paper's 0.6 for a
    sparse update 7.35 epochs. Source: the paper, section A.5.

    Raises `ValueError` for drops that are no whole number of epochs or leave nothing.
    """
    if dropped % step or not 0 <= dropped < units:
        raise ValueError(f"{dropped} of {units} units cannot go {step} at a time")
    return sum(units - step * epoch for epoch in range(dropped // step)) / units


@dataclass(frozen=True)
class Cost:
    """Cost of a chain in epochs of full fine-tuning over as many tokens, after each epoch.

    `sparse_factor`: sparse over full fine-tuning, by seconds a token. `factor`: the whole chain
    over as many epochs of full fine-tuning, scans left out. `machine`: on which all of it ran,
    of several all of them.
    """

    dropped_percent: tuple[float, ...]
    training: tuple[float, ...]
    with_scans: tuple[float, ...]
    sparse_factor: float | None
    factor: float
    machine: str


def cost(frame: Frame, chain: Chain) -> Cost | None:
    """A chain's cost from wall clocks; None without full fine-tuning in its domain and folder,
    and for a chain that trains nothing.

    A pass over T tokens costs its seconds over (T x seconds a token of full fine-tuning), so that
    epochs of different length compare. The scan of an epoch is put on the same scale.
    """
    place = {"results": chain.results, "model": chain.model, "domain": chain.domain}
    passes = where(frame.trainings, **place)
    full, sparse = (where(passes, recipe=recipe) for recipe in ("full_ft", "sparse_ft"))
    if full.empty or not sum(epoch.tokens for epoch in chain.epochs):
        return None
    unit = sum(full.seconds) / sum(full.tokens)
    train, tokens = sum(e.seconds_train for e in chain.epochs), sum(e.tokens for e in chain.epochs)
    # An epoch that had nothing left to train counts as long as the others.
    usual = tokens / sum(1 for epoch in chain.epochs if epoch.tokens)
    trained = list(accumulate(e.seconds_train / ((e.tokens or usual) * unit) for e in chain.epochs))
    scans = accumulate(e.seconds_scan / ((e.tokens or usual) * unit) for e in chain.epochs)
    return Cost(
        tuple(100 * epoch.dropped / chain.units_total for epoch in chain.epochs),
        tuple(trained),
        tuple(map(add, trained, scans)),
        None if sparse.empty else sum(sparse.seconds) / sum(sparse.tokens) / unit,
        train / tokens / unit,
        ", ".join(sorted({*full.machine, *sparse.machine, *(e.machine for e in chain.epochs)})),
    )


@dataclass(frozen=True)
class Duration:
    """Epochs of one recipe in order, under one seed: seconds and trained tokens of each.

    It `extends` where further epochs would be like those recorded, so that they may be
    extrapolated; a chain's are not, it gets shorter.
    """

    train: tuple[float, ...]
    scan: tuple[float, ...]
    tokens: tuple[int, ...]
    extends: bool
    sources: tuple[str, ...]

    def seconds(
        self, epochs: int, part: str = "train", tokens: float | None = None
    ) -> float | None:
        """Seconds of a part of the first so many epochs; None if they were not run.

        With `tokens` those of training are seconds a token times so many in each: epochs of
        different length compare. One that trained nothing takes no time.
        """
        values: Sequence[float] = getattr(self, part)
        if tokens is not None and part == "train":
            each = zip(values, self.tokens, strict=True)
            values = [tokens * seconds / own if own else 0.0 for seconds, own in each]
        if epochs <= len(values):
            return sum(values[:epochs])
        return epochs * fmean(values) if self.extends else None

    def told(self, epochs: int) -> str:
        """How many of the epochs were measured, in words."""
        if epochs <= len(self.train):
            return f"{epochs} epochs measured"
        return f"{len(self.train)} epochs measured, their mean times {epochs}"


def durations(frame: Frame, model: str, domain: str, what: str) -> list[Duration]:
    """Every run, one a seed, of fine-tuning (`what`: its recipe) or of a chain (its name)."""
    place = {"model": model, "domain": domain}
    tuned = where(frame.trainings, **place, recipe=what).assign(seconds_scan=0.0)
    tuned = tuned.rename(columns={"seconds": "seconds_train"})
    found = []
    for table, extends in ((tuned, True), (where(frame.epochs, **place, name=what), False)):
        for _, run in table.groupby("results", sort=False):
            seconds = tuple(run.seconds_train), tuple(run.seconds_scan)
            sources = tuple(dict.fromkeys(run.source))
            found.append(Duration(*seconds, tuple(run.tokens), extends, sources))
    return found
