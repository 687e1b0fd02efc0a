"""Numbers computed from results: pooled accuracies, dropped sublayers, speed ratios, training time.

Tables, figures and claims take their numbers from here and from the frames, never from files.
"""

import math
from collections.abc import Sequence
from functools import lru_cache
from statistics import fmean, stdev
from typing import Any, Self

import pandas as pd
from more_itertools import flatten, map_reduce

from trimllm_paper.frames import Frame, rows, where
from trimllm_paper.intervals import (
    Difference,
    Spread,
    accuracy_interval,
    paired_difference,
    unpaired_difference,
)
from trimllm_paper.recipe import FULL, FULL_FT

PAPER_UNITS = 64  # sublayers of LLaMA-7B


class Accuracy:
    """One recipe on one column: the documents of all its `tasks` (rows of `Frame.evaluations`, seed
    after seed), under every seed.

    `percent` is the accuracy (of free answers, F1 of words), `ci95` its 95% interval, `deviation`
    its standard deviation over seeds (None: one seed), `chance` that of guessing, `at_chance`
    whether the interval reaches that; `answer_loss` the nats a token of right answers (None:
    unknown); `n` counts answers, `documents` documents.
    """

    def __init__(self, tasks: Sequence[Any], spread: Spread | None = None) -> None:
        self.tasks, self.spread = tuple(tasks), spread
        self.sources = tuple(task.source for task in tasks)
        seeds = map_reduce(tasks, lambda task: task.seed)
        self.answers = {k: [*flatten(task.scores for task in own)] for k, own in seeds.items()}
        self.questions = [(one.task, one.documents) for one in seeds[tasks[0].seed]]
        answers = [*self.answers.values()]
        self.n, self.documents = sum(map(len, answers)), len(answers[0])
        self.percent = 100 * sum(map(sum, answers)) / self.n
        self.ci95 = accuracy_interval(answers, spread)
        self.by_seed = {seed: 100 * fmean(one) for seed, one in self.answers.items()}
        self.deviation = stdev(self.by_seed.values()) if len(seeds) > 1 else None
        self.chance, self.answer_loss = self._mean("chance"), self._mean("answer_loss")
        self.at_chance = self.chance is not None and self.ci95[0] <= self.chance
        free = {name: self._mean(name) for name in ("exact_match", "token_f1", "rouge_l")}
        free["perplexity"] = math.exp(min(self.answer_loss or 0.0, 700.0))
        self.free = free if free["token_f1"] is not None else {}
        checkpoints = [own[0] for own in seeds.values()]  # sizes are means over seeds
        self.bytes_percent = fmean(one.bytes_percent for one in checkpoints)
        self.megabytes = fmean(one.bytes / 1e6 for one in checkpoints)
        self.kept_percent = fmean(one.kept_percent for one in checkpoints)

    def _mean(self, field: str) -> float | None:
        """Mean of a field of the tasks, weighted by documents; None if a task lacks it."""
        values = [getattr(task, field, None) for task in self.tasks]
        if any(value is None for value in values):
            return None
        return sum(t.n * value for t, value in zip(self.tasks, values, strict=True)) / self.n

    def share_of(self, full: Self, above: float | None = 0.0) -> float | None:
        """Percent of another accuracy, both above a level; None where that has nothing above it."""
        if above is None or full.percent <= above:
            return None
        return 100 * (self.percent - above) / (full.percent - above)

    def minus(self, other: Self, share: float = 1.0) -> Difference:
        """Own minus `share` times other accuracy: paired by document over the seeds that both have
        (else in the order of their seeds), unpaired for other documents."""
        if self.questions != other.questions:
            own, second = ((one.percent, *one.ci95) for one in (self, other))
            return unpaired_difference(own, second, share)
        seeds = sorted(self.answers.keys() & other.answers.keys())
        pairs = [(self.answers[seed], other.answers[seed]) for seed in seeds]
        pairs = pairs or list(zip(self.answers.values(), other.answers.values(), strict=False))
        spread = None
        if self.spread and other.spread:
            # Independent seeds: conservative where one was trained from the other.
            parts = self.spread, other.spread
            dof = min((one.dof for one in parts if one.variance), default=math.inf)
            spread = Spread(parts[0].variance + share**2 * parts[1].variance, dof)
        mine, theirs = zip(*pairs, strict=True)
        return paired_difference(mine, theirs, share, spread)

    def facts(self, base: Self | None, full: Self | None, most: Self | None) -> dict[str, Any]:
        """Recipe, tasks, seeds, code, chance, and how it compares with Pretrained, Full-FT and
        Full-FT (choices)."""
        first = self.tasks[0]
        commits = (str(task.provenance.get("git_commit") or "")[:12] for task in self.tasks)
        facts: dict[str, Any] = {
            "recipe": first.recipe,
            "trained_on": first.domain,
            "tasks": ";".join(task for task, _ in self.questions),
            "seeds": ";".join(map(str, self.by_seed)),
            "by_seed": ";".join(f"{one:.2f}" for one in self.by_seed.values()),
            "code": ";".join(filter(None, dict.fromkeys(commits))),
            "chance": self.chance,
            "share_of_full_ft": full and self.share_of(full),
            "share_above_chance": full and self.share_of(full, self.chance),
            "share_of_full_ft_choices": most and self.share_of(most),
            "answer_loss": self.answer_loss,
            **self.free,
        }
        for name, other in {"minus_pretrained": base, "minus_full_ft": full}.items():
            if other and other.tasks != self.tasks:
                gap = self.minus(other)
                facts |= {name: gap.points, f"{name}_low": gap.low, f"{name}_high": gap.high}
        return facts


@lru_cache(maxsize=8)
def seed_variances(frame: Frame) -> dict[tuple[str, str], Spread]:
    """(model, recipe's name or base) -> variance of an accuracy between seeds, pooled over the
    domains and checkpoints of the frame whose seeds have the same tasks."""
    table = frame.evaluations
    scored, named = table.n * table.accuracy / 100, table["name"].fillna(table.base)
    cell = ["model", "named", "domain", "recipe", "tested"]
    groups = table.assign(named=named, scored=scored).groupby([*cell, "seed"])[["n", "scored"]]
    cells = groups.sum().eval("accuracy = scored / n").groupby(cell)
    cells = cells.agg(variance=("accuracy", "var"), dof=("n", "size"), lengths=("n", "nunique"))
    cells = cells.eval("dof = dof - 1").query("dof > 0 and lengths == 1")
    pooled = cells.eval("squares = variance * dof").groupby(cell[:2])[["squares", "dof"]].sum()
    return {key: Spread(one.squares / one.dof, one.dof) for key, one in pooled.iterrows()}


def accuracy(
    frame: Frame, model: str, domain: str, recipe: str, tasks: Sequence[str]
) -> Accuracy | None:
    """A recipe's accuracy over all seeds that have every task, or None."""
    every = where(frame.evaluations, model=model, domain=domain, recipe=recipe)
    cells = {(row.task, row.seed): row for row in rows(every)}
    seeds = sorted({seed for _, seed in cells if all((task, seed) in cells for task in tasks)})
    column = [cells[task, seed] for seed in seeds for task in tasks]
    if not column:
        return None
    spread = seed_variances(frame).get((model, column[0].name or column[0].base))
    return Accuracy(column, spread)


def checkpoints(
    frame: Frame, model: str, domain: str, name: str, tasks: Sequence[str]
) -> list[Accuracy]:
    """Every evaluated checkpoint of a chain, fewest drops first."""
    chain = {"model": model, "domain": domain, "name": name, "compressor": None}
    recipes = where(frame.evaluations, **chain).sort_values("dropped").recipe.unique()
    columns = [accuracy(frame, model, domain, recipe, tasks) for recipe in recipes]
    return [column for column in columns if column]


def near(table: pd.DataFrame, kept_percent: float) -> pd.DataFrame:
    """The rows (evaluations, timings) that stand for a kept fraction, the nearest first: less than
    100 / N percent away (40% of 64 are 25.6, so 26), of two equally near ones the larger first."""
    away = (table.kept_percent - kept_percent).abs()
    close = table.assign(away=away)[away < 100 / table.units_total - 1e-9]
    order = close.sort_values(["away", "kept_percent", "recipe"], ascending=[True, False, True])
    return order.drop(columns="away")


def nearest(frame: Frame, model: str, domain: str, name: str, kept_percent: float) -> str | None:
    """Recipe of a chain's evaluated checkpoint that stands for a kept fraction, or None."""
    chain = {"model": model, "domain": domain, "name": name, "compressor": None}
    close = near(where(frame.evaluations, **chain), kept_percent)
    return next(iter(close.recipe), None)


def held_back_shares(frame: Frame, model: str, domain: str, name: str) -> dict[int, float]:
    """Sublayers dropped -> held-back accuracy of a chain's checkpoints over Full-FT's, means over
    the chain's seeds; empty if not recorded. Without an annealed checkpoint, its epoch's counts."""
    place = {"model": model, "domain": domain}
    states = where(frame.epochs, **place, name=name)
    full = where(frame.trainings, **place, recipe=FULL_FT, kept=True)
    full = full[full.results.isin(states.results)]
    if states.held_back.isna().any() or full.held_back.isna().any() or not full.held_back.sum():
        return {}
    annealed, one = where(frame.trainings, **place, name=name, kept=True), ["results", "dropped"]
    scores = annealed.set_index(one).held_back.combine_first(states.set_index(one).held_back)
    shares = scores.astype(float).groupby("dropped").mean() / full.held_back.mean()
    return {dropped: float(share) for dropped, share in shares.items()}


Ratio = tuple[float, float, float]
"""A ratio and the ends of its 95% interval; NaN where one round has none."""


def trimmed_timings(
    timings: pd.DataFrame, kept_percent: float, compressor: str | None, first: Sequence[str]
) -> dict[str, Any]:
    """Of a machine's timings of a model those of TrimLLM near a kept fraction, by chain or pattern:
    those of `first`, then the others."""
    timed = near(where(timings, base="trim", compressor=compressor), kept_percent)
    timed = timed.drop_duplicates("name").sort_index()
    by_name = {row.name: row for row in rows(timed)}
    return {name: by_name[name] for name in (*first, *by_name) if name in by_name}


def speedup(timing: Any) -> Ratio:
    """Of a measurement, over the full model."""
    if timing.base in (FULL, FULL_FT) and not timing.compressor:
        return 1.0, 1.0, 1.0
    ends = (timing.speedup_low, timing.speedup_high)
    low, high = (math.nan if end is None else end for end in ends)
    return timing.speedup, low, high


def over(timing: Any, other: Any) -> Ratio:
    """How many times as fast one is as the other, each measured in turn with the full model. On the
    log scale the distances to the ends are added in squares."""
    (own, low, high), (theirs, their_low, their_high) = speedup(timing), speedup(other)
    ratio = own / theirs
    down = math.hypot(math.log(own / low), math.log(their_high / theirs))
    up = math.hypot(math.log(high / own), math.log(theirs / their_low))
    return ratio, ratio * math.exp(-down), ratio * math.exp(up)


Chain = list[Any]
"""Rows of `Frame.epochs` of one chain under one seed, epoch 0 first."""


def chains(frame: Frame, **columns: Any) -> list[Chain]:
    """Chains, such as those of `model=`, `domain=` and `name=`; one for each seed."""
    one = ["results", "model", "domain", "name"]
    return [rows(run) for _, run in where(frame.epochs, **columns).groupby(one, sort=False)]


def dropped(chain: Chain, at_most: int | None = None) -> list[tuple[int, str]]:
    """(block, kind) of the sublayers dropped, in order, of whole epochs up to `at_most` (None: half
    of all)."""
    most = chain[0].units_total // 2 if at_most is None else at_most
    return [unit for epoch in chain if epoch.dropped <= most for unit in epoch.units_dropped]


def progressive(units: int, dropped: int, step: int) -> float:
    """Epochs of full fine-tuning that cost as much as dropping `dropped` of N = `units` sublayers:
    an epoch trains what is left, after each `step` = d sublayers are dropped (section A.5).

        cost(n_d) = sum_{i=0}^{n_d/d - 1} (N - d i) / N        Eq. 5: d = 1, Eq. 6: d = 2

    For N = 64, n_d = 32 Eq. 6 gives 12.25 epochs, times the paper's 0.6 for a sparse update 7.35.
    """
    return sum(units - step * epoch for epoch in range(dropped // step)) / units


def training_time(frame: Frame, model: str, domain: str, what: str, epochs: int) -> pd.DataFrame:
    """Time of the first `epochs` epochs of fine-tuning (`what`: its recipe; of fewer epochs their
    mean stands for the rest) or of a chain (its name; of fewer epochs none), a row for each seed.

    Columns: `minutes` of training, seconds a token times the mean tokens of a pass of Full-FT, so
    that epochs of different length compare; `share` and `scans`, that and the scans' time in
    percent of Full-FT's (NaN without it); `measured` epochs; their `sources`; the `machine`.
    """
    place = {"model": model, "domain": domain}
    full, runs = (where(frame.trainings, **place, recipe=one) for one in (FULL_FT, what))
    runs = runs.assign(seconds_train=runs.seconds, seconds_scan=0.0)
    if is_chain := runs.empty:
        runs = where(frame.epochs, **place, name=what)
    times = {}
    for results, every in runs.groupby("results", sort=False):
        run, sources = every.iloc[:epochs], tuple(dict.fromkeys(every.source))
        seconds, scale = run.seconds_train, epochs / len(run) / 60
        if len(full):
            reference = where(full, results=full.results.iloc[0]).tokens.mean()
            seconds = (seconds / run.tokens * reference).where(run.tokens > 0, 0.0)
        if len(run) == epochs or not is_chain:
            minutes = scale * float(seconds.sum()), scale * float(run.seconds_scan.sum())
            times[results] = (*minutes, len(run), sources, run.machine.iloc[0])
    columns = ["minutes", "scans", "measured", "sources", "machine"]
    table = pd.DataFrame.from_dict(times, orient="index", columns=columns)
    whole = table if what == FULL_FT else training_time(frame, model, domain, FULL_FT, epochs)
    minutes = whole.minutes.reindex(table.index)
    return table.assign(share=100 * table.minutes / minutes, scans=100 * table.scans / minutes)
