"""Figure 2: accuracy against memory and against latency, with the Pareto frontier of all points.

TrimLLM gives a checkpoint for every number of dropped sublayers, the other methods one point each.
Bytes of the weights in percent of the full model's, one panel a domain; milliseconds a generated
token, one panel a machine; the last two panels are the paper's own (Tables 2 and 7).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pandas import DataFrame

from trimllm.base.names import PAPER_CRITERION
from trimllm_paper import derive, published
from trimllm_paper.context import Context, Domain
from trimllm_paper.derive import Accuracy
from trimllm_paper.figures import style
from trimllm_paper.frames import Frame, where
from trimllm_paper.recipe import FULL_FT, Recipe

COLUMNS = 4
PAPER_DOMAIN = "sciq"


@dataclass(frozen=True)
class Point:
    """A checkpoint: its group (`full_ft`, a recipe, a compressor, `RECIPE+COMPRESSOR`), its cost
    and accuracy (%), and their 95% intervals where these are known."""

    group: str
    cost: float
    percent: float
    costs: tuple[float, float] | None = None
    percents: tuple[float, float] | None = None


def draw(frame: Frame, context: Context, stem: str | Path) -> None:
    """Draw accuracy (%) against bytes (%) and ms a token; STEM.pdf and STEM.png."""
    domains, beside = context.domains, context.beside
    timings = where(frame.timings, model=context.model.name)
    panels = [
        (style.title(domain), "bytes (% of full)", by_memory(frame, context, domain))
        for domain in domains
    ]
    for hardware, timed in timings.groupby("hardware"):
        timed_in = timed.iloc[0].content.get("domain")
        domain = next((one for one in domains if one.name == timed_in), domains[0])
        points = by_latency(frame, context, domain, timed)
        panels.append((f"{style.title(domain)}, {hardware}", "latency (ms a token)", points))
    label = published.LABELS[beside]
    panels.append((f"paper: {label}, SciQ", "size (% as printed)", paper_memory(beside)))
    panels.append(("paper: LLaMA-7B, SciQ, A100", "latency (ms a token)", paper_latency()))
    rows = where(frame.evaluations, model=context.model.name)
    notes = style.notes(context, [*rows.source, *timings.source], rows.seed)
    notes += ["Grey staircase: nothing is cheaper and at least as accurate. Bars: 95% intervals."]
    notes += ["Hollow: trimmed, then compressed. The paper's sizes count sublayers and bits."]
    notes += [] if len(timings) else ["Latency was not run (snakemake throughput)."]
    heading = f"{context.model.label}: accuracy against memory and latency"
    columns = min(COLUMNS, len(panels))
    height = math.ceil(len(panels) / columns)
    size, shape = (style.WIDTH * columns / COLUMNS, 0.9 + 1.8 * height), (height, columns)
    with style.figure(stem, heading, size, shape, notes, legend=4, sharey=True) as axes:
        ours, paper = all_looks(context), all_looks(context.model_copy(update={"lora": False}))
        for ax, (name, cost, points) in zip(axes.flat, panels, strict=False):
            panel(ax, points, paper if name.startswith("paper") else ours)
            ax.set_title(name)
            ax.set_xlabel(cost)
        for ax in axes.flat[len(panels) :]:
            ax.remove()
        for row in axes:
            row[0].set_ylabel("accuracy (%)")
        axes[0][0].set_ylim(0, 100)


def evaluated(frame: Frame, context: Context, domain: Domain) -> list[tuple[str, Accuracy]]:
    """(group, accuracy) of everything that was evaluated in a domain."""
    place, compressors = (frame, context.model.name, domain.name), style.COMPRESSORS
    names = {FULL_FT: FULL_FT} | {one: str(Recipe(FULL_FT, compressor=one)) for one in compressors}
    single = {name: derive.accuracy(*place, recipe, domain.tasks) for name, recipe in names.items()}
    points = [(name, one) for name, one in single.items() if one]
    for name in context.recipes:
        for compressor in (None, *compressors):
            group = f"{name}+{compressor}" if compressor else name
            chain = derive.checkpoints(*place, name, domain.tasks, compressor)
            points += [(group, accuracy) for _, accuracy in chain]
    return points


def by_memory(frame: Frame, context: Context, domain: Domain) -> list[Point]:
    """All points of a domain by their bytes."""
    return [
        Point(group, one.bytes_percent, one.percent, None, one.ci95)
        for group, one in evaluated(frame, context, domain)
    ]


def by_latency(frame: Frame, context: Context, domain: Domain, timed: DataFrame) -> list[Point]:
    """Points of a domain that were timed on a machine."""
    times = {}
    for one in timed.itertuples():
        fastest, slowest = one.decode_high or one.decode, one.decode_low or one.decode  # one round
        times[one.recipe] = (1000 / one.decode, 1000 / fastest, 1000 / slowest)
    return [
        Point(group, cost, one.percent, (low, high), one.ci95)
        for group, one in evaluated(frame, context, domain)
        for cost, low, high in [times.get(one.tasks[0].recipe, (None, 0, 0))]
        if cost is not None
    ]


def pareto(points: Sequence[Point]) -> list[Point]:
    """Points that no other one beats: nothing is cheaper and at least as accurate. By cost."""
    frontier: list[Point] = []
    for one in sorted(points, key=lambda one: (one.cost, -one.percent)):
        if not frontier or one.percent > frontier[-1].percent:
            frontier.append(one)
    return frontier


def panel(ax: Any, points: Sequence[Point], looks: Mapping[str, style.Look]) -> None:
    """Draw the points of one panel with their frontier."""
    front = pareto(points)
    costs, percents = [one.cost for one in front], [one.percent for one in front]
    line = {"color": "#999999", "linewidth": 3, "alpha": 0.4, "label": "Pareto frontier"}
    ax.step(costs, percents, where="post", **line)
    groups: dict[str, list[Point]] = {}
    for one in sorted(points, key=lambda one: one.cost):
        groups.setdefault(one.group, []).append(one)
    for group, mine in groups.items():
        bars = [_bars([(one.percent, one.percents) for one in mine])]
        bars.append(_bars([(one.cost, one.costs) for one in mine]))
        place = [one.cost for one in mine], [one.percent for one in mine]
        ax.errorbar(*place, *bars, **looks[group])
    ax.set_xlim(left=0)


def _bars(values: Sequence[tuple[float, tuple[float, float] | None]]) -> list[list[float]] | None:
    ends = [(value - one[0], one[1] - value) for value, one in values if one]
    return [list(side) for side in zip(*ends, strict=True)] if len(ends) == len(values) else None


def all_looks(context: Context) -> dict[str, style.Look]:
    """Group -> look; what was trimmed and compressed has the compressor's marker, hollow."""
    chains = {PAPER_CRITERION: style.CRITERIA[PAPER_CRITERION]} | style.looks(context.recipes)
    hollow = {
        f"{group}+{compressor}": point
        | {"color": look["color"], "markerfacecolor": "white", "label": ""}
        for group, look in chains.items()
        for compressor, point in style.COMPRESSORS.items()
    }
    full = style.FULL_FT | {"label": context.named("Full-FT")}
    return {FULL_FT: full} | style.COMPRESSORS | chains | hollow


def paper_memory(block: str) -> list[Point]:
    """The paper's accuracies on SciQ against its printed sizes, in % of the full model."""
    sizes = published.accuracies(block, PAPER_DOMAIN, "final_mem")
    return _paper_points(published.accuracies(block, PAPER_DOMAIN), sizes)


def paper_latency() -> list[Point]:
    """The paper's accuracies on SciQ against 1000 / its tokens/s, LLaMA-7B on an A100."""
    table = published.table("table7")
    costs = {row: 1000 / table.number(row, "throughput") for row in table.rows()}
    return _paper_points({row: table.number(row, PAPER_DOMAIN) for row in table.rows()}, costs)


def _paper_points(percents: Mapping[str, float], costs: Mapping[str, float]) -> list[Point]:
    """Points of the paper's rows; of TrimLLM these are `trimllm[_KEPT]`, `trimllm_COMPRESSOR`."""
    points = []
    for row in (row for row in costs if row not in ("pretrained", "sparse_ft")):
        group = re.sub(r"trimllm(_\d+)?$", PAPER_CRITERION, row)
        group = group.replace("trimllm_", f"{PAPER_CRITERION}+")
        points.append(Point(group, costs[row], percents[row]))
    return points
