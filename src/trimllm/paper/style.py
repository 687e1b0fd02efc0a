"""One look for all figures: legible in grey, for colour-blind readers, and on paper."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# Okabe and Ito's colours, told apart by marker and line too.
CRITERIA: dict[str, dict[str, Any]] = {
    "both": {"color": "#0072B2", "marker": "o", "linestyle": "-"},
    "calibration": {"color": "#E69F00", "marker": "s", "linestyle": "--"},
    "activation_norm": {"color": "#009E73", "marker": "^", "linestyle": "-."},
    "likelihood": {"color": "#D55E00", "marker": "D", "linestyle": (0, (4, 1))},
}
REFERENCES: dict[str, dict[str, Any]] = {
    "full_ft": {"color": "#000000", "linestyle": "--", "linewidth": 1.2},
    "pretrained": {"color": "#666666", "linestyle": ":", "linewidth": 1.4},
    "chance": {"color": "#AAAAAA", "linestyle": "-", "linewidth": 0.8},
}
SETTINGS = {
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#E5E5E5",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.3,
    "lines.markersize": 4,
    "errorbar.capsize": 2,
    "figure.dpi": 150,
    "savefig.bbox": "tight",
    # the same bytes for the same data
    "svg.hashsalt": "trimllm",
    "pdf.fonttype": 42,
}


@contextmanager
def figure(width: float, height: float, columns: int) -> Iterator[tuple[Any, Any]]:
    """A figure of one row of axes in this style; sizes in inches."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    with pyplot.rc_context(SETTINGS):
        drawn, axes = pyplot.subplots(1, columns, figsize=(width, height), squeeze=False)
        try:
            yield drawn, axes[0]
        finally:
            pyplot.close(drawn)


def save(drawn: Any, stem: str | Path) -> None:
    """Write STEM.pdf and STEM.png, whole or not at all, without a date in them."""
    for suffix, metadata in (("pdf", {"CreationDate": None}), ("png", {"Software": None})):
        final = Path(f"{stem}.{suffix}")
        final.parent.mkdir(parents=True, exist_ok=True)
        temporary = final.with_name(f".{final.name}.tmp")
        try:
            drawn.savefig(temporary, format=suffix, metadata=metadata)
            temporary.replace(final)
        finally:
            temporary.unlink(missing_ok=True)
