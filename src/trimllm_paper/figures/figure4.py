"""Figure 4: what training costs by the paper's Eq. 5 and 6, and our measured epochs on top."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trimllm_paper import derive
from trimllm_paper.context import Context
from trimllm_paper.derive import FULL_EPOCHS, PAPER_UNITS, SPARSE_FACTOR, Cost, progressive
from trimllm_paper.figures import style
from trimllm_paper.figures.panels import origin
from trimllm_paper.frame import Frame, where

SCHEMES = (
    (1, 1.0, "Eq. 5: one unit an epoch", {"color": "#000000", "linestyle": "-"}),
    (1, SPARSE_FACTOR, "Eq. 5 × 0.6 (sparse update)", {"color": "#000000", "linestyle": "--"}),
    (2, 1.0, "Eq. 6: two units an epoch", {"color": "#888888", "linestyle": "-"}),
    (2, SPARSE_FACTOR, "Eq. 6 × 0.6 (sparse update)", {"color": "#888888", "linestyle": "--"}),
)
"""Drops an epoch, factor, name and look of the paper's curves."""
Costs = Mapping[tuple[str, str], Cost]
"""(domain, recipe) -> cost of a chain."""


def draw(frame: Frame, context: Context, stem: str | Path) -> None:
    """Draw cost (epochs of full fine-tuning) against units dropped (%); STEM.pdf and STEM.png."""
    model = context.model.name
    chains = [chain for chain in derive.chains(frame, model=model) if chain.name in context.recipes]
    found = {(one.domain, one.name): derive.cost(frame, one) for one in chains}
    costs = {key: cost for key, cost in found.items() if cost}
    heading = "Cost of training until a share of the units is dropped"
    with style.figure(stem, heading, (7.6, 3.6), 1, 2, sharex=True, legend=3) as (axes, notes):
        left, right = axes[0]
        for step, factor, name, look in SCHEMES:
            _equation(left, step, factor, label=name, **look)
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
        notes += _notes(first, costs)


def _equation(ax: Any, step: int, factor: float = 1.0, **look: Any) -> None:
    drops = range(0, PAPER_UNITS, step)
    costs = [factor * progressive(PAPER_UNITS, dropped, step) for dropped in drops]
    ax.plot([100 * dropped / PAPER_UNITS for dropped in drops], costs, **look)


def _ours(ax: Any, costs: Costs, context: Context) -> None:
    """Mean over the domains as a line with the range as bars; training alone, and with scans."""
    for step in dict.fromkeys(recipe.step for recipe in context.recipes.values()):
        label = f"formula of Eq. 5, {step} units an epoch"
        _equation(ax, step, color="#000000", label=label)
    for shift, (name, look) in enumerate(style.looks(context.recipes).items()):
        found = [cost for (_, of), cost in costs.items() if of == name]
        if not found:
            continue
        parts = (
            ("training", "training", "full", {}),
            ("with_scans", "training + scans", "none", {"linestyle": ":"}),
        )
        for key, what, fill, line in parts:
            columns = list(zip(*(getattr(one, key) for one in found), strict=True))
            means = [sum(column) / len(column) for column in columns]
            ax.errorbar(
                [percent + shift for percent in found[0].dropped_percent],  # bars apart
                means,
                [
                    [mean - min(column) for mean, column in zip(means, columns, strict=True)],
                    [max(column) - mean for mean, column in zip(means, columns, strict=True)],
                ],
                fillstyle=fill,
                **look | {"label": f"{look['label']}: {what}"} | line,
            )


def _notes(first: str, costs: Costs) -> Sequence[str]:
    notes = [f"{first} One epoch of full fine-tuning over as many tokens costs 1."]
    if costs:
        sparse = [one.sparse_factor for one in costs.values() if one.sparse_factor]
        count = len({domain for domain, _ in costs})
        factor = f"{sum(sparse) / len(sparse):.2f}" if sparse else "not run"
        notes.append(
            f"Measured: mean and range over {count} domains; wall clock, so other work on the "
            "machine is in it; our chains train one epoch before the first drop and one after the "
            "last, Eq. 5 and 6 end with the last drop. Measured factor of a sparse update: "
            f"{factor} (paper {SPARSE_FACTOR})."
        )
    return notes
