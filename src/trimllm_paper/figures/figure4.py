"""Figure 4: what training costs by the paper's Eq. 5 and 6, and our measured epochs on top."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from pandas import DataFrame, concat

from trimllm_paper import derive
from trimllm_paper.context import Context
from trimllm_paper.derive import FULL_EPOCHS, PAPER_UNITS, SPARSE_FACTOR, Chain, Cost, progressive
from trimllm_paper.figures import style
from trimllm_paper.figures.panels import origin
from trimllm_paper.frames import Frame, where


def draw(frame: Frame, context: Context, stem: str | Path) -> None:
    """Draw cost (epochs of full fine-tuning) against units dropped (%); STEM.pdf and STEM.png."""
    model = context.model.name
    chains = [chain for chain in derive.chains(frame, model=model) if chain.name in context.recipes]
    if context.lora:  # nothing was fully fine-tuned, whose time is the unit
        chains = []
    costs = [(chain, cost) for chain in chains if (cost := derive.cost(frame, chain))]
    heading = "Cost of training until a share of the units is dropped"
    with style.figure(stem, heading, (7.6, 3.6), 1, 2, sharex=True, legend=3) as (axes, notes):
        left, right = axes[0]
        for scheme in style.SCHEMES:
            factor = SPARSE_FACTOR if scheme["sparse"] else 1.0
            _equation(left, scheme["step"], factor, **scheme["look"])
        left.axhline(FULL_EPOCHS, color="#D55E00", linestyle=":", label="5 epochs of full FT")
        half = SPARSE_FACTOR * progressive(PAPER_UNITS, PAPER_UNITS // 2, 2)
        left.plot([50], [half], marker="o", color="#888888", linestyle="")
        left.annotate(f"{half:.2f} at 50%", (50, half), (53, half - 4), fontsize=7)
        left.set_title(f"Eq. 5 and 6, N = {PAPER_UNITS}, c = 1")
        left.set_ylabel("cost (epochs of full fine-tuning)")
        if costs:
            _ours(right, costs, context)
            right.set_title(f"measured, {context.model.label}")
        else:
            style.say_in_place(right, "not run")
        for ax in axes[0]:
            ax.set_xlabel("units dropped (%)")
        passes = where(frame.trainings, model=model).source
        sources = [source for chain in chains for source in chain.sources]
        first = origin([*sources, *passes], [chain.seed for chain in chains])
        notes.append(f"{first} One epoch of full fine-tuning over as many tokens costs 1.")
        if costs:
            sparse = [cost.sparse_factor for _, cost in costs if cost.sparse_factor]
            measured = f"{fmean(sparse):.2f}" if sparse else "not run"
            notes.append(
                f"Measured: mean and range over {len({chain.domain for chain, _ in costs})} "
                "domains; wall clock, so other work on the machine is in it; our chains train one "
                "epoch before the first drop and one after the last, Eq. 5 and 6 end with the last "
                f"drop. Measured factor of a sparse update: {measured} (paper {SPARSE_FACTOR})."
            )


def _equation(ax: Any, step: int, factor: float = 1.0, **look: Any) -> None:
    drops = range(0, PAPER_UNITS, step)
    costs = [factor * progressive(PAPER_UNITS, dropped, step) for dropped in drops]
    ax.plot([100 * dropped / PAPER_UNITS for dropped in drops], costs, **look)


def _ours(ax: Any, costs: Sequence[tuple[Chain, Cost]], context: Context) -> None:
    """Mean over the domains as a line with the range as bars; training alone, and with scans."""
    for step in dict.fromkeys(recipe.step for recipe in context.recipes.values()):
        label = f"formula of Eq. 5, {step} units an epoch"
        _equation(ax, step, color="#000000", label=label)
    for shift, (name, look) in enumerate(style.looks(context.recipes).items()):
        found = [DataFrame(vars(cost)) for chain, cost in costs if chain.name == name]
        for part, own in style.COSTS.items() if found else ():
            over = concat(found).groupby("dropped_percent")[part]
            mean, named = over.mean(), {"label": f"{look['label']}: {own['label']}"}
            bars = [list(mean - over.min()), list(over.max() - mean)]
            # recipes a little apart, so that bars do not cover each other
            ax.errorbar(list(mean.index + shift), list(mean), bars, **look | own | named)
