"""Figure 3: which sublayers are dropped, by depth, until half of all are gone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from trimllm_paper import derive
from trimllm_paper.context import Context
from trimllm_paper.derive import Chain
from trimllm_paper.figures import style
from trimllm_paper.frames import Frame, where

PARTS = 6
"""Parts of the model's depth, a bar each."""


def draw(frame: Frame, context: Context, stem: str | Path) -> None:
    """Draw percent dropped against depth by domain (columns) and recipe (rows)."""
    looks, domains = style.looks(context.recipes), context.domains
    every = derive.chains(frame, model=context.model.name)
    epochs = where(frame.epochs, model=context.model.name)
    notes = (
        "Of each sixth of the depth, how much was dropped until half of the sublayers were. "
        "Mean over seeds; in brackets sublayers dropped, attention + MLP."
    )
    text, shape = ("which sublayers are dropped", [epochs], notes), (len(looks), len(domains))
    with style.figure(stem, context, *text, shape, sharex=True, sharey=True) as axes:
        for row, (name, look) in zip(axes, looks.items(), strict=True):
            row[0].set_ylabel(f"{look['label'].removeprefix('TrimLLM, ')}\ndropped (%)")
            for ax, domain in zip(row, domains, strict=True):
                place = (name, domain.name)
                chains = [one for one in every if (one[0].name, one[0].domain) == place]
                if not chains:
                    style.replace_axes(ax, "not run")
                    continue
                for kind, offset in zip(style.KINDS, (-0.2, 0.2), strict=True):
                    places = [part + 0.5 + offset for part in range(PARTS)]
                    ax.bar(places, by_depth(chains, kind), width=0.4, **style.KINDS[kind])
                gone = [[kind for _, kind in derive.dropped(one)] for one in chains]
                counts = [fmean(each.count(kind) for each in gone) for kind in style.KINDS]
                ax.set_title(f"{style.title(domain)} ({counts[0]:.0f} + {counts[1]:.0f})")
                ax.set_xticks([0, PARTS / 2, PARTS], ["first", "middle", "last"])
        for ax in axes[-1]:
            ax.set_xlabel("decoder block")
        axes[0][0].set_ylim(0, 100)


def by_depth(chains: Sequence[Chain], kind: str) -> list[float]:
    """Percent of the sublayers of a kind that were dropped, by part of the depth; mean over chains
    of one model."""
    blocks = chains[0][0].units_total // 2
    parts = [[b for b in range(blocks) if b * PARTS // blocks == part] for part in range(PARTS)]
    gone = [{b for b, one in derive.dropped(chain) if one == kind} for chain in chains]
    return [
        100 * fmean(len(each & {*part}) / len(part) for each in gone) if part else 0.0
        for part in parts
    ]
