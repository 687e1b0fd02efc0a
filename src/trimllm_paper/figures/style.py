"""One look for all figures: legible in grey, for colour-blind eyes, at the width of README.

Colours are Okabe and Ito's. No information is in colour alone: criteria and compressors differ in
marker and line too.
"""

import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from pandas import DataFrame

from trimllm.base.names import PAPER_CRITERION
from trimllm_paper.context import Context, Domain
from trimllm_paper.frames import tier_note, where

Look = dict[str, Any]
"""Keywords of matplotlib: label, color, marker, linestyle, linewidth."""


def _looks(*rows: tuple[str, str, str, str, Any]) -> dict[str, Look]:
    keys = ("label", "color", "marker", "linestyle")
    return {name: dict(zip(keys, look, strict=True)) for name, *look in rows}


CRITERIA = _looks(
    ("both", "TrimLLM, the paper's recipe", "#0072B2", "o", "-"),
    ("calibration", "TrimLLM, calibration", "#E69F00", "s", "--"),
    ("activation_norm", "TrimLLM, activation norm", "#009E73", "^", "-."),
    ("likelihood", "TrimLLM, our recipe", "#D55E00", "D", (0, (4, 1))),
)
"""Criterion -> look of the recipes that use it."""
OTHERS: list[Look] = [
    {"color": "#CC79A7", "marker": "p", "linestyle": (0, (3, 2))},
    {"color": "#56B4E9", "marker": "d", "linestyle": (0, (5, 1, 1, 1))},
    {"color": "#333333", "marker": ">", "linestyle": (0, (1, 1))},
]
"""Looks of other criteria, and of further recipes by the same one, in turn."""
COMPRESSORS = _looks(
    ("llm_pruner", "LLM-Pruner", "#CC79A7", "v", ""),
    ("sparsegpt_2_4", "SparseGPT (2:4)", "#56B4E9", "P", ""),
    ("llm_int8", "LLM.int8()", "#8C6D31", "<", ""),
    ("awq_int4", "AWQ-int4", "#882255", "X", ""),
    ("gptq_int4", "GPTQ-int4", "#44AA99", "*", ""),
)
FULL_FT = {"label": "Full-FT", "color": "#000000", "marker": "s", "linestyle": ""}
LEVELS: dict[str, Look] = {
    "full_ft": {"label": "Full-FT", "color": "#000000", "linestyle": "--", "linewidth": 1.2},
    "keeps": {"label": "90% of Full-FT", "color": "#000000", "linestyle": (0, (1, 2))},
    "pretrained": {"label": "pretrained", "color": "#009E73", "linestyle": "-."},
    "chance": {"label": "chance", "color": "#AAAAAA", "linestyle": "-"},
}
"""Lines across a panel."""
KINDS = {
    "attention": {"label": "attention", "color": "#56B4E9", "edgecolor": "black", "linewidth": 0.5},
    "mlp": {"label": "MLP", "color": "#B35900", "edgecolor": "black", "linewidth": 0.5},
}
"""Bars by kind of sublayer."""
SETTINGS = {
    **{"font.size": 8, "axes.titlesize": 8.5, "axes.labelsize": 8, "legend.frameon": False},
    **{"axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True},
    **{"axes.grid": True, "grid.color": "#E5E5E5", "grid.linewidth": 0.6},
    **{"lines.linewidth": 1.2, "lines.markersize": 4, "errorbar.capsize": 2, "figure.dpi": 150},
    **{"svg.hashsalt": "trimllm", "pdf.fonttype": 42},  # the same bytes for the same data
}


def looks(context: Context) -> dict[str, Look]:
    """Recipe, compressor, or `RECIPE+COMPRESSOR` -> its look. A recipe's is that of its criterion;
    a further one by the same criterion has its name beside it and another look. What was trimmed
    and compressed has the compressor's marker, hollow."""
    chains, seen = {PAPER_CRITERION: CRITERIA[PAPER_CRITERION]}, set[str]()
    for place, (name, one) in enumerate(context.recipes.items()):
        look = CRITERIA.get(one.criterion, {"label": f"TrimLLM, {one.criterion}"})
        if one.criterion in seen:
            look = {"label": f"{look['label']}: {name}"}
        chains[name] = OTHERS[place % len(OTHERS)] | look
        seen.add(one.criterion)
    empty = {"markerfacecolor": "white", "label": ""}
    hollow = {
        f"{name}+{compressor}": point | {"color": look["color"]} | empty
        for (name, look), (compressor, point) in product(chains.items(), COMPRESSORS.items())
    }
    full = FULL_FT | {"label": context.named("Full-FT")}
    return {"full_ft": full} | COMPRESSORS | chains | hollow


@contextmanager
def figure(
    stem: str | Path,
    context: Context,
    title: str,
    shown: Sequence[DataFrame],
    notes: str,
    shape: tuple[int, int],
    panel: tuple[float, float] = (1.7, 1.5),
    **shared: bool,
) -> Iterator[Any]:
    """Axes (rows x columns) of a figure of panels of so many inches; writes STEM.pdf and STEM.png
    at the end. Beneath stand sources and seeds of what is `shown` of the model, and `notes`."""
    shown = [where(one, model=context.model.name) for one in shown]
    width, height = max(4.0, panel[0] * shape[1]), 0.9 + panel[1] * shape[0]
    with rc_context(SETTINGS):
        drawn = Figure(figsize=(width, height), layout="constrained")
        yield drawn.subplots(*shape, squeeze=False, **shared)
        named: dict[str, Any] = {}
        for ax in drawn.axes:
            handles, names = ax.get_legend_handles_labels()
            named = dict(zip(names, handles, strict=True)) | named
        look = {"loc": "outside upper center", "ncols": 3, "title_fontsize": 9.5}
        title = f"{context.model.label}: {title}"
        drawn.legend(named.values(), named.keys(), title=title, **look)
        text = f"{tier_note([source for rows in shown for source in rows.source])}. "
        if seeds := ", ".join(map(str, sorted({*shown[0].seed}))):
            text += f"Seeds: {seeds}. "
        if context.lora:
            text += f"{context.named('Full-FT')}: adapters in its place. "
        if stand_ins := [one for one in context.domains if one.stand_in]:
            alone = f"{stand_ins[0].label}: {stand_ins[0].stand_in}"
            text += f"{alone if len(stand_ins) == 1 else '† stand-in data'}. "
        lines = textwrap.fill(text + notes, int(width * 19))
        drawn.supxlabel(lines, x=0.01, ha="left", fontsize=6.5, color="#333333")
        Path(stem).parent.mkdir(parents=True, exist_ok=True)
        for suffix, metadata in (("pdf", {"CreationDate": None}), ("png", {"Software": None})):
            drawn.savefig(f"{stem}.{suffix}", metadata=metadata)


def replace_axes(ax: Any, text: str) -> None:
    """Write words in place of a panel that has nothing to show."""
    ax.set_axis_off()
    ax.text(0.5, 0.5, text, ha="center", va="center", transform=ax.transAxes, color="#555555")


def errors(values: Sequence[float], intervals: Sequence[tuple[float, float] | None]) -> Any:
    """Distances to the intervals' ends, as `errorbar` takes them; None without intervals."""
    return None if None in intervals else abs(np.array(intervals).reshape(-1, 2).T - values)


def title(domain: Domain) -> str:
    """Heading of a domain's panel, with the mark of stand-in data."""
    return f"{domain.label}{'†' if domain.stand_in else ''}"
