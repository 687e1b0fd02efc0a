"""Figure 2: accuracy against memory and against latency, with the Pareto frontier of all points.

TrimLLM gives a checkpoint for every number of dropped sublayers, the other methods one point each.
Bytes of the weights in percent of the full model's, one panel a domain; milliseconds a generated
token, one panel a machine; the last two panels are the paper's own (Tables 2 and 7).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pandas import DataFrame

from trimllm.base.names import PAPER_CRITERION
from trimllm_paper import derive, published
from trimllm_paper.context import Context, Domain
from trimllm_paper.figures import style
from trimllm_paper.frames import Frame, rows, where
from trimllm_paper.recipe import FULL_FT, Recipe

COLUMNS = 4
PAPER_DOMAIN = "sciq"


class Point(NamedTuple):
    """A checkpoint: its group (`full_ft`, a recipe, a compressor, `RECIPE+COMPRESSOR`), its cost
    and accuracy (%), and their 95% intervals where these are known."""

    group: str
    cost: float
    percent: float
    costs: tuple[float, float] | None = None
    percents: tuple[float, float] | None = None


def draw(frame: Frame, context: Context, stem: str | Path) -> None:
    """Draw accuracy (%) against bytes (%) and ms a token; STEM.pdf and STEM.png."""
    domains, beside = {one.name: one for one in context.domains}, context.beside
    timings = where(frame.timings, model=context.model.name)
    panels = [
        (style.title(domain), "bytes (% of full)", points_of(frame, context, domain))
        for domain in domains.values()
    ]
    for hardware, timed in timings.groupby("hardware"):
        domain = domains.get(timed.iloc[0].content.get("domain"), context.domains[0])
        points = points_of(frame, context, domain, timed)
        panels.append((f"{style.title(domain)}, {hardware}", "latency (ms a token)", points))
    sizes, speeds = paper_points(beside)
    panels.append((f"paper: {published.LABELS[beside]}, SciQ", "size (% as printed)", sizes))
    panels.append(("paper: LLaMA-7B, SciQ, A100", "latency (ms a token)", speeds))
    evaluations = where(frame.evaluations, model=context.model.name)
    notes = (
        "Grey staircase: nothing is cheaper and at least as accurate. Bars: 95% intervals. "
        "Hollow: trimmed, then compressed. The paper's sizes count sublayers and bits."
    )
    notes += "" if len(timings) else " Latency was not run (snakemake throughput)."
    columns = min(COLUMNS, len(panels))
    shape = (math.ceil(len(panels) / columns), columns)
    text = ("accuracy against memory and latency", [evaluations, timings], notes)
    with style.figure(stem, context, *text, shape, (2.1, 1.8), sharey=True) as axes:
        ours, paper = looks_of(context), looks_of(context.model_copy(update={"lora": False}))
        for ax, (name, cost, points) in zip(axes.flat, panels, strict=False):
            panel(ax, points, paper if name.startswith("paper") else ours)
            ax.set_title(name)
            ax.set_xlabel(cost)
        for ax in axes.flat[len(panels) :]:
            ax.remove()
        for row in axes:
            row[0].set_ylabel("accuracy (%)")
        axes[0][0].set_ylim(0, 100)


def points_of(
    frame: Frame, context: Context, domain: Domain, timed: DataFrame | None = None
) -> list[Point]:
    """Everything evaluated in a domain by its bytes (%); or what was `timed` by ms a token."""
    place, points = (frame, context.model.name, domain.name), []
    for compressor in (None, *style.COMPRESSORS):
        full = str(Recipe(FULL_FT, compressor=compressor))
        columns = {compressor or FULL_FT: [derive.accuracy(*place, full, domain.tasks)]}
        for name in context.recipes:
            chain = derive.checkpoints(*place, name, domain.tasks, compressor)
            group = f"{name}+{compressor}" if compressor else name
            columns[group] = [*chain]
        points += [(group, one) for group, each in columns.items() for one in each if one]
    if timed is None:
        return [Point(group, x.bytes_percent, x.percent, None, x.ci95) for group, x in points]
    times = {one.recipe: one for one in rows(timed)}
    timed_points = [(group, x, times.get(x.tasks[0].recipe)) for group, x in points]
    return [
        Point(group, 1000 / time.decode, x.percent, _milliseconds(time), x.ci95)
        for group, x, time in timed_points
        if time
    ]


def _milliseconds(time: Any) -> tuple[float, float]:
    """Interval of the ms a token; of one round the value itself."""
    return 1000 / (time.decode_high or time.decode), 1000 / (time.decode_low or time.decode)


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
        costs, percents = [one.cost for one in mine], [one.percent for one in mine]
        bars = style.errors(percents, [one.percents for one in mine])
        ax.errorbar(
            costs, percents, bars, style.errors(costs, [x.costs for x in mine]), **looks[group]
        )
    ax.set_xlim(left=0)


def looks_of(context: Context) -> dict[str, style.Look]:
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


def paper_points(block: str) -> tuple[list[Point], list[Point]]:
    """The paper's accuracies on SciQ: of a model against its printed sizes (% of the full model),
    and of LLaMA-7B on an A100 against 1000 / its tokens/s."""
    sizes, table = published.accuracies(block, PAPER_DOMAIN, "final_mem"), published.table("table7")
    times = {row: 1000 / table.number(row, "throughput") for row in table.rows()}
    timed = {row: table.number(row, PAPER_DOMAIN) for row in table.rows()}
    points: list[list[Point]] = []
    for costs, percents in ((sizes, published.accuracies(block, PAPER_DOMAIN)), (times, timed)):
        groups = {  # rows of TrimLLM are `trimllm[_KEPT]` and `trimllm_COMPRESSOR`
            row: re.sub(r"trimllm(_\d+)?$", PAPER_CRITERION, row).replace(
                "trimllm_", f"{PAPER_CRITERION}+"
            )
            for row in costs
            if row not in ("pretrained", "sparse_ft")
        }
        points.append([Point(group, costs[row], percents[row]) for row, group in groups.items()])
    return points[0], points[1]
