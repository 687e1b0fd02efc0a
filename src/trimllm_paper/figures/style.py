"""One look for all figures: legible in grey, for colour-blind readers, and on paper.

Colours are Okabe and Ito's. Nothing is told by colour alone: criteria and compressors differ in
marker and line too, heat maps in brightness.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CRITERIA: dict[str, dict[str, Any]] = {
    "both": {"color": "#0072B2", "marker": "o", "linestyle": "-"},
    "calibration": {"color": "#E69F00", "marker": "s", "linestyle": "--"},
    "activation_norm": {"color": "#009E73", "marker": "^", "linestyle": "-."},
    "likelihood": {"color": "#D55E00", "marker": "D", "linestyle": (0, (4, 1))},
}
REFERENCES: dict[str, dict[str, Any]] = {
    "full_ft": {"color": "#000000", "linestyle": "--", "linewidth": 1.2},
    "keeps": {"color": "#000000", "linestyle": (0, (1, 3)), "linewidth": 0.8},
    "pretrained": {"color": "#666666", "linestyle": ":", "linewidth": 1.4},
    "chance": {"color": "#AAAAAA", "linestyle": "-", "linewidth": 0.8},
}
COMPRESSORS: dict[str, dict[str, Any]] = {
    "llm_pruner": {"color": "#CC79A7", "marker": "v", "linestyle": (0, (5, 3))},
    "sparsegpt_2_4": {"color": "#56B4E9", "marker": "P", "linestyle": (0, (3, 1, 1, 1))},
    "llm_int8": {"color": "#8C6D31", "marker": "<", "linestyle": (0, (1, 1))},
    "awq_int4": {"color": "#882255", "marker": "X", "linestyle": (0, (6, 1, 1, 1))},
    "gptq_int4": {"color": "#44AA99", "marker": "*", "linestyle": (0, (2, 2))},
}
BASELINES: dict[str, dict[str, Any]] = {
    "full_ft": {"color": "#000000", "marker": "s"},
    "sparse_ft": {"color": "#555555", "marker": "h"},
}
KINDS: dict[str, dict[str, Any]] = {
    "attention": {"color": "#56B4E9"},
    "mlp": {"color": "#B35900"},
}
NAMES = {
    "both": "TrimLLM, both (paper)",
    "calibration": "TrimLLM, calibration (paper)",
    "activation_norm": "TrimLLM, activation norm (paper)",
    "likelihood": "TrimLLM, likelihood (ours)",
    "authors": "authors' code (compat)",
    "full_ft": "Full-FT",
    "sparse_ft": "Sparse-FT",
    "keeps": "90% of Full-FT",
    "pretrained": "pretrained",
    "chance": "chance",
    "llm_pruner": "LLM-Pruner",
    "sparsegpt_2_4": "SparseGPT (2:4)",
    "llm_int8": "LLM.int8()",
    "awq_int4": "AWQ-int4",
    "gptq_int4": "GPTQ-int4",
    "attention": "attention",
    "mlp": "MLP",
}
HEAT = "cividis"
"""Colour map whose brightness rises evenly, made for colour-blind readers."""
SETTINGS = {
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E5E5E5",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.3,
    "lines.markersize": 4,
    "errorbar.capsize": 2,
    "legend.frameon": False,
    "figure.dpi": 150,
    "savefig.bbox": "tight",
    # the same bytes for the same data
    "svg.hashsalt": "trimllm",
    "pdf.fonttype": 42,
}


@contextmanager
def figure(
    width: float, height: float, columns: int, rows: int = 1, **layout: Any
) -> Iterator[tuple[Any, Any]]:
    """A figure and its axes (rows x columns) in this style; sizes in inches.

    `layout` is passed on to `pyplot.subplots`.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    with pyplot.rc_context(SETTINGS):
        drawn, axes = pyplot.subplots(
            rows, columns, figsize=(width, height), squeeze=False, layout="constrained", **layout
        )
        try:
            yield drawn, axes
        finally:
            pyplot.close(drawn)


def underneath(drawn: Any, axes: Iterable[Any], columns: int, notes: Sequence[str]) -> None:
    """Under a figure: one legend for all its axes, every name once, then small print.

    The notes say where the numbers come from and what is missing.
    """
    named = {
        name: handle
        for ax in axes
        for handle, name in zip(*ax.get_legend_handles_labels(), strict=True)
    }
    bottom = -0.01
    if named:
        legend = drawn.legend(
            named.values(),
            named.keys(),
            loc="upper center",
            bbox_to_anchor=(0.5, bottom),
            ncols=min(columns, len(named)),
        )
        drawn.canvas.draw()
        extent = legend.get_window_extent().transformed(drawn.transFigure.inverted())
        bottom = extent.y0
    width = int(drawn.get_figwidth() * 19)
    lines = [line for note in notes for line in textwrap.wrap(note, width)]
    small = {"fontsize": 6.5, "color": "#333333", "ha": "left", "va": "top"}
    drawn.text(0.01, bottom - 0.02, "\n".join(lines), **small)


def say_in_place(ax: Any, text: str) -> None:
    """Words in place of a panel that has nothing to show."""
    ax.set_axis_off()
    ax.text(0.5, 0.5, text, ha="center", va="center", transform=ax.transAxes, color="#555555")


def save(drawn: Any, stem: str | Path) -> None:
    """Write STEM.pdf and STEM.png, whole or not at all, without a date in them."""
    for suffix, metadata in (("pdf", {"CreationDate": None}), ("png", {"Software": None})):
        final = Path(f"{stem}.{suffix}")
        final.parent.mkdir(parents=True, exist_ok=True)
        temporary = final.with_name(f".{final.name}.tmp")
        try:
            drawn.savefig(temporary, format=suffix, metadata=metadata)
            if suffix == "png":
                _reduce(temporary)
            temporary.replace(final)
        finally:
            temporary.unlink(missing_ok=True)


def _reduce(picture: Path) -> None:
    """Store a PNG with 256 colours: a third of the bytes, and no eye sees it.

    The page of all figures is shown by the report as an address, which browsers limit to 2 MiB.
    """
    from PIL import Image

    with Image.open(picture) as whole:
        dpi = whole.info["dpi"]
        few = whole.convert("RGB").quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    few.save(picture, format="PNG", optimize=True, dpi=dpi)
