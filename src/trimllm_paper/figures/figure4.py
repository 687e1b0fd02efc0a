"""Figure 4: what training costs by the paper's Eq. 5 and 6, and our measured epochs beside it."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean
from typing import Any

from trimllm_paper import derive
from trimllm_paper.context import Context
from trimllm_paper.derive import PAPER_UNITS, progressive
from trimllm_paper.figures import style
from trimllm_paper.frames import Frame, where

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


def draw(frame: Frame, context: Context, stem: str | Path) -> None:
    """Draw cost (epochs of full fine-tuning) against sublayers dropped (%)."""
    model = context.model.name
    epochs = where(frame.epochs, model=model)
    shown = [epochs[epochs["name"].isin([*context.recipes])], where(frame.trainings, model=model)]
    notes = (
        "One epoch of full fine-tuning over as many tokens costs 1. Measured: wall clock, "
        "mean over domains and seeds; bars: smallest and largest domain. Our chains train an "
        "epoch before the first drop and one after the last; Eq. 5 and 6 end with it."
    )
    text = ("cost of training until a share of the sublayers is dropped", shown, notes)
    with style.figure(stem, context, *text, (1, 2), (4.2, 2.5), sharex=True) as axes:
        left, right = axes[0]
        _formulas(left)
        costs = measured(frame, context)
        for name, look in style.looks(context.recipes).items():
            for part, own in (("training", {}), ("with scans", {"fillstyle": "none"})):
                if by_domain := costs.get((name, part)):
                    label = f"{look['label'].removeprefix('TrimLLM, ')}, {part}"
                    _measured(right, by_domain, label, look | own)
        if costs:
            right.set_title(f"measured, {context.model.label}")
        else:
            style.replace_axes(right, "not run")
        for ax in axes[0]:
            ax.set_xlabel("sublayers dropped (%)")
            ax.set_xlim(0, 135)
            ax.set_xticks(range(0, 101, 20))


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


def _measured(ax: Any, costs: dict[float, list[float]], label: str, look: style.Look) -> None:
    """Mean over the domains as a line with the range as bars, named at its end."""
    means = [fmean(each) for each in costs.values()]
    bars = style.errors(means, [(min(each), max(each)) for each in costs.values()])
    ax.errorbar([*costs], means, bars, **look | {"label": None})
    end = (max(costs) + 2, means[-1])
    ax.annotate(label, end, va="center", fontsize=7, color=look["color"])


Costs = dict[tuple[str, str], dict[float, list[float]]]
"""(Recipe, "training" or "with scans") -> percent dropped -> cost by domain."""


def measured(frame: Frame, context: Context) -> Costs:
    """Cost in epochs of Full-FT until each drop: epochs times their share of Full-FT's time, as in
    Table 9. None where adapters stand in for it."""
    costs: Costs = {}
    chains = [] if context.lora else derive.chains(frame, model=context.model.name)
    for chain in {(one[0].domain, one[0].name): one for one in chains}.values():
        for number, epoch in enumerate(chain, start=1):
            place = (epoch.model, epoch.domain, epoch.name)
            times = derive.training_time(frame, *place, number)
            if times.share.isna().all():
                continue
            train, scan = (number / 100 * float(times[part].mean()) for part in ("share", "scans"))
            dropped = 100 * epoch.dropped / epoch.units_total
            for part, cost in (("training", train), ("with scans", train + scan)):
                each = costs.setdefault((epoch.name, part), {})
                each.setdefault(dropped, []).append(cost)
    return costs
