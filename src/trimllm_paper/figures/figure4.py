"""Figure 4: what training costs by the paper's Eq. 5 and 6, and our measured epochs on top."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from trimllm_paper.chains import Run, read_chains
from trimllm_paper.cost import (
    FULL_EPOCHS,
    PAPER_UNITS,
    SPARSE_FACTOR,
    Measured,
    measured,
    progressive,
)
from trimllm_paper.figures.panels import seed_note, seed_of
from trimllm_paper.figures.style import CRITERIA, NAMES, figure, save, say_in_place, underneath
from trimllm_paper.tier import tier_note

SCHEMES = (
    (1, 1.0, "Eq. 5: one unit an epoch", {"color": "#000000", "linestyle": "-"}),
    (1, SPARSE_FACTOR, "Eq. 5 × 0.6 (sparse update)", {"color": "#000000", "linestyle": "--"}),
    (2, 1.0, "Eq. 6: two units an epoch", {"color": "#888888", "linestyle": "-"}),
    (2, SPARSE_FACTOR, "Eq. 6 × 0.6 (sparse update)", {"color": "#888888", "linestyle": "--"}),
)
"""Drops an epoch, factor, name and look of the paper's curves."""


def draw(
    records: Iterable[str | Path],
    trainings: Iterable[str | Path],
    model: Mapping[str, Any],
    domains: Sequence[Mapping[str, Any]],
    stem: str | Path,
    *,
    criteria: Sequence[str],
    run: Run,
) -> None:
    """Draw cost (epochs of full fine-tuning) against units dropped (%); STEM.pdf and STEM.png.

    Args:
        records: per-epoch records of the chains.
        trainings: training.json of full and sparse fine-tuning.
        model, domains, criteria, run: as for Figure 1.
    """
    records, trainings = list(records), list(trainings)
    chains = read_chains(records, model["name"], run).values()
    costs = measured(chains, trainings)
    with figure(7.6, 3.6, 2, sharex=True) as (drawn, axes):
        left, right = axes[0]
        _equations(left, SCHEMES)
        left.axhline(FULL_EPOCHS, color="#D55E00", linestyle=":", label="5 epochs of full FT")
        half = SPARSE_FACTOR * progressive(PAPER_UNITS, PAPER_UNITS // 2, 2)
        left.plot([50], [half], marker="o", color="#888888", linestyle="")
        left.annotate(f"{half:.2f} at 50%", (50, half), (53, half - 4), fontsize=7)
        left.set_title(f"Eq. 5 and 6, N = {PAPER_UNITS}, c = 1")
        left.set_ylabel("cost (epochs of full fine-tuning)")
        if costs:
            _ours(right, costs, domains, criteria, run)
            right.set_title(f"measured, {model.get('label') or model['name']}")
        else:
            say_in_place(right, "not run")
        for ax in axes[0]:
            ax.set_xlabel("units dropped (%)")
        drawn.suptitle("Cost of training until a share of the units is dropped", fontsize=9)
        seeds = seed_note(map(seed_of, chains))
        underneath(drawn, axes.flat, 3, _notes(records + trainings, costs, seeds))
        save(drawn, stem)


def _equations(ax: Any, schemes: Iterable[tuple[int, float, str, dict[str, Any]]]) -> None:
    for step, factor, name, look in schemes:
        drops = range(0, PAPER_UNITS, step)
        costs = [factor * progressive(PAPER_UNITS, dropped, step) for dropped in drops]
        ax.plot([100 * dropped / PAPER_UNITS for dropped in drops], costs, label=name, **look)


def _ours(
    ax: Any,
    costs: Mapping[tuple[str, str], Measured],
    domains: Sequence[Mapping[str, Any]],
    criteria: Sequence[str],
    run: Run,
) -> None:
    """Mean over the domains as a line with the range as bars; training alone, and with scans."""
    step = run.drops_per_epoch
    drops = range(0, PAPER_UNITS, step)
    line = [progressive(PAPER_UNITS, dropped, step) for dropped in drops]
    name = f"formula of Eq. 5, {step} units an epoch"
    ax.plot([100 * d / PAPER_UNITS for d in drops], line, color="#000000", label=name)
    names = [domain["name"] for domain in domains]
    for shift, criterion in enumerate(criteria):
        found = [one for (d, c), one in costs.items() if c == criterion and d in names]
        if not found:
            continue
        parts = (("training", "training", "full"), ("with_scans", "training + scans", "none"))
        for key, what, fill in parts:
            columns = list(zip(*(getattr(one, key) for one in found), strict=True))
            means = [sum(column) / len(column) for column in columns]
            ax.errorbar(
                [percent + shift for percent in found[0].dropped_percent],  # bars apart
                means,
                [
                    [mean - min(column) for mean, column in zip(means, columns, strict=True)],
                    [max(column) - mean for mean, column in zip(means, columns, strict=True)],
                ],
                label=f"{NAMES[criterion]}: {what}",
                fillstyle=fill,
                **CRITERIA[criterion] | ({"linestyle": ":"} if fill == "none" else {}),
            )


def _notes(
    sources: Sequence[str | Path], costs: Mapping[tuple[str, str], Measured], seeds: str
) -> list[str]:
    unit = "One epoch of full fine-tuning over as many tokens costs 1."
    notes = [f"{tier_note(sources)}.{seeds} {unit}"]
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
