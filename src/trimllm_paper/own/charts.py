"""Charts of a report, as SVG that stands in the page: narrow, so that a phone shows them."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib import rc_context
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator

from trimllm_paper.figures import style

ACCURACY = "accuracy on test documents (%)"
WIDTH = 4.2
"""Inches."""
FULL, CHAIN = style.BASELINES["full_ft"], style.CRITERIA
CHOSEN = {"marker": "o", "s": 170, "facecolors": "none", "edgecolors": "#D55E00", "linewidths": 2}
WANTED = {"color": "#D55E00", "linestyle": "--", "linewidth": 1}
KINDS = {"attention": ("o", "#56B4E9"), "mlp": ("s", "#B35900")}


@dataclass(frozen=True)
class Point:
    """A recipe in a chart: `x`, accuracy in percent with its interval, how it is shown."""

    recipe: str
    chain: str | None
    x: float
    percent: float
    low: float
    high: float
    chosen: bool


def svg(drawn: Figure, title: str, salt: str) -> str:
    """The figure as an element of a page. `salt` keeps its names apart from other charts'."""
    out = io.StringIO()
    with rc_context({"svg.hashsalt": salt}):
        FigureCanvasSVG(drawn).print_svg(out, metadata={"Date": None, "Creator": None})
    text = out.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    # Names are this chart's own: a page has several.
    text = text.replace(' id="', f' id="{salt}-')
    text = re.sub(r"(url\(|href=\")#", rf"\1#{salt}-", text)
    # the page gives the width, the view box the height
    text = re.sub(r'<svg ([^>]*?)width="[^"]*"', r"<svg \1", text, count=1)
    text = re.sub(r'<svg ([^>]*?)height="[^"]*"', r"<svg \1", text, count=1)
    return text.replace("<svg ", f'<svg role="img" aria-label="{title}" ', 1)


def _figure(height: float) -> tuple[Figure, Any]:
    drawn = Figure(figsize=(WIDTH, height), layout="constrained")
    FigureCanvasSVG(drawn)
    return drawn, drawn.subplots()


def accuracy(
    points: Sequence[Point],
    label: str,
    measure: str,
    *,
    salt: str,
    least: float | None = None,
    limit: float | None = None,
) -> str:
    """Test accuracy against size or speed, the chosen one ringed.

    Args:
        label: of the x axis; `measure`: of the y axis.
        least: accuracy that was asked for, in percent, as far as test documents can show it.
        limit: value of x that was asked for.
    """
    with rc_context(style.SETTINGS):
        drawn, ax = _figure(3.0)
        chains: dict[str, list[Point]] = {}
        for one in points:
            if one.chain:
                chains.setdefault(one.chain, []).append(one)
        looks = [CHAIN["likelihood"], CHAIN["both"], *style.OTHERS]
        for number, (name, found) in enumerate(chains.items()):
            look = looks[number % len(looks)] | {"label": f"trimmed ({name})"}
            _points(ax, sorted(found, key=lambda one: one.x), look)
        for recipe, look in (
            ("full_ft", FULL | {"label": "full fine-tuning"}),
            ("pretrained", {"label": "before fine-tuning", "color": "#666666", "marker": "^"}),
        ):
            _points(ax, [one for one in points if one.recipe == recipe], {"linestyle": ""} | look)
        for one in points:
            if one.chosen:
                ax.scatter([one.x], [one.percent], label="chosen", zorder=5, **CHOSEN)
        if least is not None:
            ax.axhline(least, label="asked for", **WANTED)
        if limit is not None:
            ax.axvline(limit, label=None if least is not None else "asked for", **WANTED)
        ax.set_xlabel(label)
        ax.set_ylabel(measure)
        ax.margins(x=0.08)
        handles, names = ax.get_legend_handles_labels()
        drawn.legend(
            handles, names, loc="outside lower center", ncols=2, fontsize=7, markerscale=0.6
        )
        return svg(drawn, f"Accuracy against {label}", salt)


def _points(ax: Any, found: Sequence[Point], look: Mapping[str, Any]) -> None:
    if found:
        errors = [[p.percent - p.low for p in found], [p.high - p.percent for p in found]]
        ax.errorbar([p.x for p in found], [p.percent for p in found], errors, **look)


def strip(
    dropped: Sequence[tuple[int, str, int]], blocks: int, gone: int, steps: Sequence[int]
) -> str:
    """Which units went when: a mark a unit, its block upwards, units gone so far to the right.

    Args:
        dropped: (block, "attention" or "mlp", units gone after the epoch it went in).
        blocks: of the whole model.
        gone: units that are gone of the chosen checkpoint.
        steps: units gone after each epoch.
    """
    with rc_context(style.SETTINGS):
        drawn, ax = _figure(max(2.6, 0.085 * blocks + 1.0))
        for kind, (marker, color) in KINDS.items():
            found = [(after, block) for block, one, after in dropped if one == kind]
            label = style.KINDS[kind]["label"]
            x, y = zip(*found, strict=True) if found else ((), ())
            ax.scatter(
                x,
                y,
                marker=marker,
                c=color,
                s=22,
                label=label,
                edgecolors="black",
                linewidths=0.4,
                zorder=3,
            )
        ax.axvspan(-1, gone + min(steps, default=1) / 2, color="#D55E00", alpha=0.08, linewidth=0)
        ax.axvline(gone + min(steps, default=1) / 2, label="chosen", **WANTED)
        ax.set_xlim(0, max([*steps, 1]) * 1.04 + 1)
        ax.set_ylim(-1, blocks)
        ax.yaxis.set_major_locator(FixedLocator(range(0, blocks, max(1, blocks // 6))))
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.set_xlabel("units gone so far")
        ax.set_ylabel("block")
        handles, names = ax.get_legend_handles_labels()
        drawn.legend(handles, names, loc="outside lower center", ncols=3, fontsize=7)
        return svg(drawn, "Which units went, and when", "strip")
