"""The paper's figures and the plot of README, a function each, in one `style`.

    figureN(frame, context, stem)      writes STEM.pdf and STEM.png

`frame` holds all results (`trimllm_paper.frames`), `context` what the configuration shows of them
(`trimllm_paper.context`).
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np
from more_itertools import map_reduce
from pandas import DataFrame

from trimllm.base.names import PAPER_CRITERION
from trimllm_paper import derive, published
from trimllm_paper.context import Context, Domain
from trimllm_paper.derive import PAPER_UNITS, Chain, progressive
from trimllm_paper.figures import style
from trimllm_paper.frames import Frame, rows, where
from trimllm_paper.recipe import FULL_FT, PRETRAINED


def figure1(frame: Frame, context: Context, stem: str | Path) -> None:
    """Accuracy (%) against sublayers dropped (%), beside full fine-tuning, one panel a domain.

    Above our measurements; beneath them what the paper prints in its Tables 2 and 8 for its own
    model. Compressors drop no sublayer: they stand in Figure 2, by their bytes.
    """
    beside, count = context.beside, len(context.domains)
    notes = "Bars and band: 95% intervals. Missing points were not evaluated."
    text = ("accuracy as sublayers are dropped", [frame.evaluations], notes)
    with style.figure(stem, context, *text, (2, count), sharex=True, sharey=True) as axes:
        for (above, below), domain in zip(axes.T, context.domains, strict=True):
            _measured(above, frame, context, domain)
            _published(below, beside, domain)
            below.set_xlabel("dropped (%)")
        axes[0][0].set(ylabel="measured (%)", ylim=(0, 100))
        axes[1][0].set_ylabel(f"paper, {published.LABELS[beside]} (%)")


def _measured(ax: Any, frame: Frame, context: Context, domain: Domain) -> None:
    place, looks = (frame, context.model.name, domain.name), style.looks(context)
    full, plain = (derive.accuracy(*place, name, domain.tasks) for name in (FULL_FT, PRETRAINED))
    levels: dict[str, float | None] = {PRETRAINED: plain.percent if plain else None}
    if full:
        ax.axhspan(*full.ci95, color="#000000", alpha=0.08, linewidth=0)
        levels |= {
            FULL_FT: full.percent,
            "keeps": published.KEEPS * full.percent,
            "chance": full.chance,
        }
    _levels(ax, levels, context.named)
    for name in context.recipes:
        points = derive.checkpoints(*place, name, domain.tasks)
        percents = [one.percent for one in points]
        bars = style.errors(percents, [one.ci95 for one in points])
        ax.errorbar([100 - one.kept_percent for one in points], percents, bars, **looks[name])
    ax.set_title(style.title(domain))


def _published(ax: Any, beside: str, domain: Domain) -> None:
    """What the paper prints for the domain, or that it prints nothing."""
    if not (printed := published.accuracies(beside, domain.name)):
        style.replace_axes(ax, "not in the paper")
        return
    _levels(ax, printed | {"keeps": published.KEEPS * printed["full_ft"]})
    kept = [one for one in (50, 40, 30) if f"trimllm_{one}" in printed]
    percents = [printed[f"trimllm_{one}"] for one in kept]
    ax.plot([100 - one for one in kept], percents, **style.CRITERIA[PAPER_CRITERION])


def _levels(ax: Any, levels: Mapping[str, float | None], named: Callable[[str], str] = str) -> None:
    """Lines across, by their names."""
    for name, look in style.LEVELS.items():
        if levels.get(name) is not None:
            ax.axhline(levels[name], **look | {"label": named(look["label"])})


PAPER_DOMAIN = "sciq"


class Point(NamedTuple):
    """A checkpoint: its group (`full_ft`, a recipe, a compressor, `RECIPE+COMPRESSOR`), its cost
    and accuracy (%), and their 95% intervals where these are known."""

    group: str
    cost: float
    percent: float
    costs: tuple[float, float] | None = None
    percents: tuple[float, float] | None = None


def figure2(frame: Frame, context: Context, stem: str | Path) -> None:
    """Accuracy (%) against memory and against latency, with the Pareto frontier of all points.

    TrimLLM gives a checkpoint for every number of dropped sublayers, other methods one point each.
    Bytes of the weights in percent of the full model's, one panel a domain; milliseconds a
    generated token, one panel a machine; the last two panels are the paper's (Tables 2 and 7).
    """
    domains, beside = {one.name: one for one in context.domains}, context.beside
    timings, latency = where(frame.timings, model=context.model.name), "latency (ms a token)"
    panels = [
        (style.title(domain), "bytes (% of full)", points_of(frame, context, domain))
        for domain in domains.values()
    ]
    for hardware, timed in timings.groupby("hardware"):
        domain = domains.get(timed.iloc[0].content.get("domain"), context.domains[0])
        points = points_of(frame, context, domain, timed)
        panels.append((f"{style.title(domain)}, {hardware}", latency, points))
    sizes, speeds = paper_points(beside)
    panels.append((f"paper: {published.LABELS[beside]}, SciQ", "size (% as printed)", sizes))
    panels.append(("paper: LLaMA-7B, SciQ, A100", latency, speeds))
    notes = (
        "Grey staircase: nothing is cheaper and at least as accurate. Bars: 95% intervals. "
        "Hollow: trimmed, then compressed. The paper's sizes count sublayers and bits."
    )
    notes += "" if len(timings) else " Latency was not run (snakemake throughput)."
    columns = min(4, len(panels))
    shape = (math.ceil(len(panels) / columns), columns)
    text = ("accuracy against memory and latency", [frame.evaluations, timings], notes)
    with style.figure(stem, context, *text, shape, (2.1, 1.8), sharey=True) as axes:
        plain = context.model_copy(update={"lora": False})
        for ax, (name, cost, points) in zip(axes.flat, panels, strict=False):
            panel(ax, points, style.looks(plain if name.startswith("paper") else context))
            ax.set(title=name, xlabel=cost)
        for ax in axes.flat[len(panels) :]:
            ax.remove()
        for ax in axes[:, 0]:
            ax.set(ylabel="accuracy (%)", ylim=(0, 100))


def points_of(
    frame: Frame, context: Context, domain: Domain, timed: DataFrame | None = None
) -> list[Point]:
    """Everything evaluated in a domain by its bytes (%); or what was `timed` by ms a token."""
    place, points = (frame, context.model.name, domain.name), []
    shown = where(frame.evaluations, model=context.model.name, domain=domain.name)
    shown = shown[shown["name"].isin([*context.recipes]) | (shown.base == FULL_FT)]
    times = {one.recipe: one for one in rows(timed)} if timed is not None else {}
    for one in rows(shown.drop_duplicates("recipe")):
        accuracy = derive.accuracy(*place, one.recipe, domain.tasks)
        if not accuracy or (timed is not None and one.recipe not in times):
            continue
        cost, costs = accuracy.bytes_percent, None
        if time := times.get(one.recipe):  # of one round the interval is the value itself
            ends = (time.decode_high or time.decode, time.decode_low or time.decode)
            cost, costs = 1000 / time.decode, (1000 / ends[0], 1000 / ends[1])
        group = "+".join(filter(None, [one.name, one.compressor])) or FULL_FT
        points.append(Point(group, cost, accuracy.percent, costs, accuracy.ci95))
    return points


def pareto(points: Sequence[Point]) -> list[Point]:
    """Points that no other one beats: nothing is cheaper and at least as accurate. By cost."""
    frontier: list[Point] = []
    for one in sorted(points, key=lambda one: (one.cost, -one.percent)):
        if not frontier or one.percent > frontier[-1].percent:
            frontier.append(one)
    return frontier


def panel(ax: Any, points: Sequence[Point], looks: Mapping[str, style.Look]) -> None:
    """Draw the points of one panel with their frontier."""
    front = [(one.cost, one.percent) for one in pareto(points)]
    line = {"color": "#999999", "linewidth": 3, "alpha": 0.4, "label": "Pareto frontier"}
    ax.step(*np.reshape(front, (-1, 2)).T, where="post", **line)
    in_order = sorted(points, key=lambda one: one.cost)
    for group, mine in map_reduce(in_order, lambda one: one.group).items():
        _, costs, percents, *intervals = zip(*mine, strict=True)
        across, along = map(style.errors, (costs, percents), intervals)
        ax.errorbar(costs, percents, along, across, **looks[group])
    ax.set_xlim(left=0)


def paper_points(block: str) -> tuple[list[Point], list[Point]]:
    """The paper's accuracies on SciQ: of a model against its printed sizes (% of the full model),
    and of LLaMA-7B on an A100 against 1000 / its tokens/s."""

    def points(costs: Mapping[str, float], percents: Mapping[str, float]) -> list[Point]:
        ours = PAPER_CRITERION
        groups = {  # rows of TrimLLM are `trimllm[_KEPT]` and `trimllm_COMPRESSOR`
            row: re.sub(r"trimllm(_\d+)?$", ours, row).replace("trimllm_", f"{ours}+")
            for row in costs.keys() - {"pretrained", "sparse_ft"}
        }
        return [Point(groups[row], costs[row], percents[row]) for row in costs if row in groups]

    sizes = published.accuracies(block, PAPER_DOMAIN, "final_mem")
    table = published.table("table7").blocks[""]
    times = {row: 1000 / cells["throughput"] for row, cells in table.items()}
    timed = {row: cells[PAPER_DOMAIN] for row, cells in table.items()}
    return points(sizes, published.accuracies(block, PAPER_DOMAIN)), points(times, timed)


def readme(frame: Frame, context: Context, stem: str | Path) -> None:
    """Accuracy (%) on the first domain against bytes (%), ours beside other compressors."""
    domain, place = context.domains[0], (frame, context.model.name, context.domains[0].name)
    evaluations = where(frame.evaluations, domain=domain.name)
    text = (f"{domain.label}, accuracy against bytes", [evaluations], "Bars: 95% intervals.")
    with style.figure(stem, context, *text, (1, 1), (5.6, 2.9)) as axes:
        ax, points = axes[0][0], points_of(frame, context, domain)
        panel(ax, points, style.looks(context))
        if plain := derive.accuracy(*place, PRETRAINED, domain.tasks):
            ax.axhline(plain.percent, **style.LEVELS["pretrained"])
        ax.set(xlabel="bytes kept (% of the full model)", ylabel="accuracy (%)")
        ax.set(xlim=(0, 105), ylim=(20, 100))


PARTS = 6
"""Parts of the model's depth, a bar each."""


def figure3(frame: Frame, context: Context, stem: str | Path) -> None:
    """Sublayers dropped until half are gone (%), by depth, domain (columns) and recipe (rows)."""
    looks, domains, recipes = style.looks(context), context.domains, context.recipes
    notes = (
        "Of each sixth of the depth, how much was dropped until half of the sublayers were. "
        "Mean over seeds; in brackets sublayers dropped, attention + MLP."
    )
    text = ("which sublayers are dropped", [frame.epochs], notes)
    shape = (len(recipes), len(domains))
    with style.figure(stem, context, *text, shape, sharex=True, sharey=True) as axes:
        for row, name in zip(axes, recipes, strict=True):
            row[0].set_ylabel(f"{looks[name]['label'].removeprefix('TrimLLM, ')}\ndropped (%)")
            for ax, domain in zip(row, domains, strict=True):
                place = {"model": context.model.name, "domain": domain.name, "name": name}
                if not (chains := derive.chains(frame, **place)):
                    style.replace_axes(ax, "not run")
                    continue
                for kind, offset in zip(style.KINDS, (-0.2, 0.2), strict=True):
                    places = [part + 0.5 + offset for part in range(PARTS)]
                    ax.bar(places, by_depth(chains, kind), width=0.4, **style.KINDS[kind])
                gone = [kind for one in chains for _, kind in derive.dropped(one)]
                attention, mlp = (gone.count(kind) / len(chains) for kind in style.KINDS)
                ax.set_title(f"{style.title(domain)} ({attention:.0f} + {mlp:.0f})")
                ax.set_xticks([0, PARTS / 2, PARTS], ["first", "middle", "last"])
        for ax in axes[-1]:
            ax.set(xlabel="decoder block", ylim=(0, 100))


def by_depth(chains: Sequence[Chain], kind: str) -> list[float]:
    """Percent of the sublayers of a kind that were dropped, by part of the depth; mean over chains
    of one model."""
    blocks = chains[0][0].units_total // 2
    gone = [[b * PARTS // blocks for b, x in derive.dropped(one) if x == kind] for one in chains]
    parts = [block * PARTS // blocks for block in range(blocks)]
    return [
        100 * fmean(each.count(part) / max(1, parts.count(part)) for each in gone)
        for part in range(PARTS)
    ]


FULL_EPOCHS, SPARSE_FACTOR = 5, 0.6
"""Epochs of full fine-tuning that the paper compares with; time of a sparse update over full
fine-tuning that it reads from its Table 9."""
EQUATIONS: tuple[tuple[str, int, float, style.Look], ...] = (
    ("Eq. 5, one an epoch", 1, 1.0, {"color": "#000000", "linestyle": "-"}),
    ("Eq. 5 × 0.6, sparse", 1, SPARSE_FACTOR, {"color": "#000000", "linestyle": "--"}),
    ("Eq. 6, two an epoch", 2, 1.0, {"color": "#009E73", "linestyle": "-"}),
    ("Eq. 6 × 0.6, sparse", 2, SPARSE_FACTOR, {"color": "#009E73", "linestyle": "--"}),
)
"""Label, sublayers dropped an epoch, factor, look."""
FILLS = {"training": "full", "with scans": "none"}
"""What is measured -> how its markers are filled."""


def figure4(frame: Frame, context: Context, stem: str | Path) -> None:
    """Cost (epochs of full fine-tuning) against sublayers dropped (%): Eq. 5 and 6, and ours."""
    shown = [frame.epochs[frame.epochs["name"].isin([*context.recipes])], frame.trainings]
    notes = (
        "One epoch of full fine-tuning over as many tokens costs 1. Measured: wall clock, "
        "mean over domains and seeds; bars: smallest and largest domain. Our chains train an "
        "epoch before the first drop and one after the last; Eq. 5 and 6 end with it."
    )
    text = ("cost of training until a share of the sublayers is dropped", shown, notes)
    with style.figure(stem, context, *text, (1, 2), (4.2, 2.5), sharex=True) as axes:
        left, right = axes[0]
        _formulas(left)
        costs, looks = costs_of(frame, context), style.looks(context)
        for (name, part), by_drop in costs.items():  # means as a line, named at its end
            means = [fmean(each) for each in by_drop.values()]
            bars = style.errors(means, [(min(each), max(each)) for each in by_drop.values()])
            look = looks[name] | {"label": None, "fillstyle": FILLS[part]}
            right.errorbar([*by_drop], means, bars, **look)
            label = f"{looks[name]['label'].removeprefix('TrimLLM, ')}, {part}"
            end = (max(by_drop) + 2, means[-1])
            right.annotate(label, end, va="center", fontsize=7, color=look["color"])
        if costs:
            right.set_title(f"measured, {context.model.label}")
        else:
            style.replace_axes(right, "not run")
        for ax in axes[0]:
            ax.set(xlabel="sublayers dropped (%)", xlim=(0, 135), xticks=range(0, 101, 20))


def _formulas(ax: Any) -> None:
    """The paper's equations, its figure of about 5 epochs, and what Eq. 6 gives there."""
    for label, step, factor, look in EQUATIONS:
        drops = range(0, PAPER_UNITS, step)
        costs = [factor * progressive(PAPER_UNITS, dropped, step) for dropped in drops]
        ax.plot([100 * dropped / PAPER_UNITS for dropped in drops], costs, **look)
        ax.annotate(f" {label}", (99, costs[-1]), va="center", fontsize=7, color=look["color"])
    ax.axhline(FULL_EPOCHS, color="#D55E00", linestyle=":")
    ax.annotate("the paper: about 5 at 50%", (99, FULL_EPOCHS - 1.6), ha="right", fontsize=7)
    half = SPARSE_FACTOR * progressive(PAPER_UNITS, PAPER_UNITS // 2, 2)
    ax.plot([50], [half], marker="o", color="#009E73", linestyle="")
    ax.annotate(f"{half:.2f}", (50, half + 0.8), ha="right", fontsize=7)
    ax.set_title(f"the paper's formulas, N = {PAPER_UNITS}")
    ax.set_ylabel("cost (epochs of full fine-tuning)")


Costs = dict[tuple[str, str], dict[float, list[float]]]
"""(Recipe, one of `FILLS`) -> percent dropped -> cost by domain."""


def costs_of(frame: Frame, context: Context) -> Costs:
    """Cost in epochs of Full-FT until each drop: epochs times their share of Full-FT's time, as in
    Table 9. None where adapters stand in for it."""
    costs: Costs = {}
    for name, domain in product(() if context.lora else context.recipes, context.domains):
        place = {"model": context.model.name, "domain": domain.name}
        chain = [[], *derive.chains(frame, **place, name=name)][-1]
        for number, epoch in enumerate(chain, start=1):
            times = derive.training_time(frame, **place, what=name, epochs=number)
            by_part = times[["share", "scans"]].mean().cumsum() * number / 100
            for part, cost in zip(FILLS, by_part, strict=True):
                if not math.isnan(cost):
                    dropped = 100 * epoch.dropped / epoch.units_total
                    costs.setdefault((name, part), {}).setdefault(dropped, []).append(cost)
    return costs
