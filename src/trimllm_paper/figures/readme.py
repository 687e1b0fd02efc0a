"""The plot of README: accuracy against kept bytes in one domain, ours beside other compressors."""

from __future__ import annotations

from pathlib import Path

from trimllm_paper import derive
from trimllm_paper.context import Context
from trimllm_paper.figures import figure2, style
from trimllm_paper.frames import Frame, where
from trimllm_paper.recipe import PRETRAINED


def draw(frame: Frame, context: Context, stem: str | Path) -> None:
    """Draw accuracy (%) on the first domain against bytes (%); STEM.pdf and STEM.png."""
    domain, place = context.domains[0], (frame, context.model.name, context.domains[0].name)
    evaluations = [where(frame.evaluations, model=context.model.name, domain=domain.name)]
    text = (f"{domain.label}, accuracy against bytes", evaluations, "Bars: 95% intervals.")
    with style.figure(stem, context, *text, (1, 1), (5.6, 2.9)) as axes:
        ax, points = axes[0][0], figure2.points_of(frame, context, domain)
        figure2.panel(ax, points, figure2.looks_of(context))
        if plain := derive.accuracy(*place, PRETRAINED, domain.tasks):
            ax.axhline(plain.percent, **style.LEVELS["pretrained"])
        ax.set(xlabel="bytes kept (% of the full model)", ylabel="accuracy (%)")
        ax.set(xlim=(0, 105), ylim=(20, 100))
