"""Figure 1: accuracy against sublayers dropped, beside full fine-tuning.

Above our measurements, one panel a domain; beneath them what the paper prints in its Tables 2 and 8
for its own model. Compressors drop no sublayer: they stand in Figure 2, by their bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trimllm.base.names import PAPER_CRITERION
from trimllm_paper import derive, published
from trimllm_paper.context import Context, Domain
from trimllm_paper.figures import style
from trimllm_paper.frames import Frame, where
from trimllm_paper.verdict import KEEPS


def draw(frame: Frame, context: Context, stem: str | Path) -> None:
    """Draw accuracy (%) against sublayers dropped (%); STEM.pdf and STEM.png."""
    beside, count = context.beside, len(context.domains)
    evaluations = [where(frame.evaluations, model=context.model.name)]
    notes = "Bars and the grey band: intervals of 95% over documents and seeds."
    text = ("accuracy as sublayers are dropped", evaluations, notes)
    with style.figure(stem, context, *text, (2, count), sharex=True, sharey=True) as axes:
        for (above, below), domain in zip(axes.T, context.domains, strict=True):
            _measured(above, frame, context, domain)
            _published(below, beside, domain)
            below.set_xlabel("dropped (%)")
        axes[0][0].set_ylabel("measured (%)")
        axes[1][0].set_ylabel(f"paper, {published.LABELS[beside]} (%)")
        axes[0][0].set_ylim(0, 100)


def _measured(ax: Any, frame: Frame, context: Context, domain: Domain) -> None:
    place = frame, context.model.name, domain.name
    names = ("full_ft", "pretrained")
    base = {name: derive.accuracy(*place, name, domain.tasks) for name in names}
    levels = {name: one.percent for name, one in base.items() if one}
    if full := base["full_ft"]:
        ax.axhspan(*full.ci95, color="#000000", alpha=0.08, linewidth=0)
        levels["keeps"] = KEEPS * full.percent
        if full.chance is not None:
            levels["chance"] = full.chance
    _levels(ax, levels, context)
    for name, look in style.looks(context.recipes).items():
        points = derive.checkpoints(*place, name, domain.tasks)
        percents = [one.percent for one in points]
        bars = style.errors(percents, [one.ci95 for one in points])
        ax.errorbar([100 - one.kept_percent for one in points], percents, bars, **look)
    ax.set_title(style.title(domain))


def _published(ax: Any, beside: str, domain: Domain) -> None:
    """What the paper prints for the domain, or that it prints nothing."""
    rows = published.accuracies(beside, domain.name)
    if not rows:
        style.replace_axes(ax, "not in the paper")
        return
    _levels(ax, rows | {"keeps": KEEPS * rows["full_ft"]})
    percents = {100 - kept: rows.get(f"trimllm_{kept}") for kept in (50, 40, 30)}
    shown = {dropped: one for dropped, one in percents.items() if one is not None}
    ax.plot([*shown], [*shown.values()], **style.CRITERIA[PAPER_CRITERION])


def _levels(ax: Any, levels: Mapping[str, float], context: Context | None = None) -> None:
    """Lines across, by their names."""
    for name, look in style.LEVELS.items():
        if name in levels:
            label = context.named(look["label"]) if context else look["label"]
            ax.axhline(levels[name], **look | {"label": label})
