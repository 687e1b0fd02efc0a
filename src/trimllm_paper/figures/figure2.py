"""Figure 2: accuracy against memory and against latency, with the Pareto frontier of all points.

TrimLLM gives a checkpoint for every number of dropped units, the other methods one point each.
Upper row: bytes of the weights, one panel a domain. Lower row: milliseconds a generated token, one
panel a machine, on the domain whose checkpoints were timed. The last panel of each row is the
paper's own (Tables 2 and 7).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from math import nan
from pathlib import Path
from typing import Any

from pandas import DataFrame

from trimllm.base.names import PAPER_CRITERION
from trimllm_paper import derive, published
from trimllm_paper.context import Context, Domain
from trimllm_paper.derive import Accuracy
from trimllm_paper.figures import panels, style
from trimllm_paper.frames import Frame, where
from trimllm_paper.recipe import FULL_FT

COMPRESSORS = ("sparsegpt_2_4", "llm_int8", "awq_int4")
"""Those of the paper's Table 7."""
PAPER_DOMAIN = "sciq"
POINT = ("group", "cost", "percent", "cost_low", "cost_high", "low", "high", "n")
"""A checkpoint: its line (`full_ft`, a recipe, a compressor, or `RECIPE+COMPRESSOR`; of the paper a
criterion), cost with quartiles, accuracy with 95% interval and documents; NaN for what is unknown.
"""
Cost = Callable[[Accuracy], tuple[float, float, float] | None]
"""Accuracy of a checkpoint -> its cost and the cost's quartiles, or None: not known."""


def points_of(frame: Frame, context: Context, domain: Domain, cost: Cost) -> DataFrame:
    """Everything that was evaluated in a domain and whose cost is known, as rows of `POINT`."""
    place = frame, context.model.name, domain.name
    full = derive.accuracy(*place, FULL_FT, domain.tasks)
    found = [(FULL_FT, full)] if full else []
    found += panels.compressed(frame, context, domain).items()
    for name in context.recipes:
        for compressor in (None, *style.COMPRESSORS):
            group = f"{name}+{compressor}" if compressor else name
            chain = derive.checkpoints(*place, name, domain.tasks, compressor)
            found += [(group, accuracy) for _, accuracy in chain]
    rows = [
        (group, known[0], one.percent, *known[1:], *one.ci95, one.n)
        for group, one in found
        if (known := cost(one))
    ]
    return DataFrame(rows, columns=POINT)


def by_memory(accuracy: Accuracy) -> tuple[float, float, float] | None:
    """Weights of a checkpoint in MB."""
    return (accuracy.megabytes, nan, nan) if accuracy.megabytes else None


def by_latency(timings: DataFrame) -> Cost:
    """Milliseconds a generated token on one machine, with its quartiles."""
    known = {
        one.recipe: (1000 / one.decode, 1000 / one.decode_high, 1000 / one.decode_low)
        for one in timings.itertuples()
    }
    return lambda accuracy: known.get(accuracy.tasks[0].recipe)


def pareto(points: DataFrame) -> DataFrame:
    """Points that no other one beats: nothing is cheaper and at least as accurate. By cost."""
    ordered = points.sort_values(["cost", "percent"], ascending=[True, False])
    return ordered[ordered.percent > ordered.percent.cummax().shift(fill_value=-1.0)]


def draw(frame: Frame, context: Context, stem: str | Path) -> None:
    """Draw accuracy (%) against MB of weights and ms a token; STEM.pdf and STEM.png."""
    domains, beside = context.domains, context.beside
    theirs = _looks(context)
    looks = {key: look | {"label": context.named(look["label"])} for key, look in theirs.items()}
    timings = where(frame.timings, model=context.model.name)
    machines = sorted(timings.hardware.unique())
    columns = max(len(domains), len(machines), 1) + 1
    heading = f"{context.model.label}: accuracy against memory and latency"
    size = (2.1 * columns, 5.0)
    with style.figure(stem, heading, size, 2, columns, sharey=True, legend=5) as (axes, notes):
        seen: set[str] = set()
        for ax, domain in zip(axes[0], domains, strict=False):
            points = points_of(frame, context, domain, by_memory)
            seen |= set(points.group)
            _panel(ax, points, panels.title(domain, next(iter(points.n), None)), looks)
        for ax, hardware in zip(axes[1], machines, strict=False):
            timed = where(timings, hardware=hardware)
            timed_in = timed.iloc[0].content.get("domain")
            domain = next((one for one in domains if one.name == timed_in), domains[0])
            points = points_of(frame, context, domain, by_latency(timed))
            _panel(ax, points, f"{panels.title(domain)} on {hardware}", looks)
        lower = max(1, len(machines))
        for ax in (*axes[0][len(domains) : -1], *axes[1][lower + 1 :]):
            ax.set_axis_off()
        axes[1][lower].tick_params(labelleft=not machines)
        if not machines:
            style.say_in_place(axes[1][0], "latency: not run\n(snakemake throughput)")
        named = f"paper: {published.LABELS[beside]}, SciQ"
        _panel(axes[0][-1], paper_memory(beside), named, theirs)
        _panel(axes[1][lower], paper_latency(), "paper: LLaMA-7B, SciQ, A100", theirs)
        for row, label in zip(axes, ("weights (MB)", "latency (ms a token, batch 1)"), strict=True):
            row[0].set_ylabel("accuracy (%)")
            for ax in row:
                ax.set_xlabel(label)
        axes[0][-1].set_xlabel("weights (% of full, as printed)")
        axes[0][0].set_ylim(0, 100)
        rows = where(frame.evaluations, model=context.model.name)
        notes.append(
            f"{panels.origin([*rows.source, *frame.timings.source], rows.seed)} "
            "Grey staircase: Pareto frontier of all points of a panel. "
            "Vertical bars: Wilson intervals of 95%; horizontal bars: quartiles of the rounds. "
            f"{'' if context.model.published else 'A stand-in for the paper’s model. '}"
            f"† stand-in data. {panels.not_run(COMPRESSORS, seen)}"
        )
        notes += [f"Ours: {told}." for told in panels.by_lora(context)]


def _panel(ax: Any, points: DataFrame, heading: str, looks: Mapping[str, style.Look]) -> None:
    """Draw the points of one panel with their frontier."""
    ax.set_title(heading)
    front = pareto(points)
    ax.step(front.cost, front.percent, where="post", **style.MARKS["frontier"])
    for group, rows in points.groupby("group", sort=False):
        mine = rows.sort_values("cost", kind="stable")
        upright = (mine.percent - mine.low, mine.high - mine.percent)
        across = (mine.cost - mine.cost_low, mine.cost_high - mine.cost)
        bars = [None if bar[0].isna().any() else list(map(list, bar)) for bar in (upright, across)]
        ax.errorbar(list(mine.cost), list(mine.percent), *bars, **looks[group])
    ax.set_xlim(left=0)


def _looks(context: Context) -> dict[str, style.Look]:
    """Look of every group; compressed TrimLLM has the compressor's marker, hollow."""
    chains = {PAPER_CRITERION: style.CRITERIA[PAPER_CRITERION]} | style.looks(context.recipes)
    points = {key: look | {"linestyle": ""} for key, look in style.COMPRESSORS.items()}
    hollow = {
        f"{group}+{compressor}": point
        | {"color": look["color"], "markerfacecolor": "white"}
        | {"label": f"{look['label']} + {point['label']}"}
        for group, look in chains.items()
        for compressor, point in points.items()
    }
    return style.BASELINES | points | chains | hollow


def paper_memory(block: str) -> DataFrame:
    """The paper's accuracies on SciQ against its printed sizes, in % of the full model."""
    sizes = panels.paper_column(block, PAPER_DOMAIN, "final_mem")
    return _paper_points(panels.paper_column(block, PAPER_DOMAIN), sizes)


def paper_latency() -> DataFrame:
    """The paper's accuracies on SciQ against 1000 / its tokens/s, LLaMA-7B on an A100."""
    table = published.table("table7")
    costs = {row: 1000 / table.number(row, "throughput") for row in table.rows()}
    return _paper_points({row: table.number(row, PAPER_DOMAIN) for row in table.rows()}, costs)


def _paper_points(percents: Mapping[str, float], costs: Mapping[str, float]) -> DataFrame:
    """Points of the paper's rows; of TrimLLM these are `trimllm[_KEPT]`, `trimllm_COMPRESSOR`."""
    unknown = (nan,) * 5
    rows = []
    for row in (row for row in costs if row not in ("pretrained", "sparse_ft")):
        group = re.sub(r"trimllm(_\d+)?$", PAPER_CRITERION, row)
        group = group.replace("trimllm_", f"{PAPER_CRITERION}+")
        rows.append((group, costs[row], percents[row], *unknown))
    return DataFrame(rows, columns=POINT)
