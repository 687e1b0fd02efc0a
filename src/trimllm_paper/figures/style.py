"""One look for all figures (`style.yaml`): legible in grey, for colour-blind eyes, on paper."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from matplotlib import rc_context, rcParams
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from trimllm_paper.context import Shown

Look = dict[str, Any]
"""What matplotlib takes: label, color, marker, linestyle, linewidth."""


def _look(entry: Look) -> Look:
    """An entry of style.yaml; matplotlib takes patterns of lines as tuples only."""
    line = entry.get("linestyle")
    return entry | {"linestyle": tuple(line)} if isinstance(line, list) else entry


_STYLE = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
CRITERIA, COMPRESSORS, BASELINES, REFERENCES, KINDS, MARKS, COSTS = (
    {key: _look(entry) for key, entry in _STYLE[room].items()}
    for room in ("criteria", "compressors", "baselines", "references", "kinds", "marks", "costs")
)
OTHERS = [_look(entry) for entry in _STYLE["others"]]
SETTINGS: dict[str, Any] = _STYLE["settings"]
HEAT: str = _STYLE["heat"]
SCHEMES: list[dict[str, Any]] = _STYLE["schemes"]
SCORES: dict[str, dict[str, str]] = _STYLE["scores"]


def looks(recipes: Mapping[str, Shown]) -> dict[str, Look]:
    """Recipe -> its look and what legends call it. Both hang on its criterion.

    A further recipe by the same criterion has its own name beside it and another look.
    """
    found: dict[str, Look] = {}
    seen: set[str] = set()
    for place, (name, one) in enumerate(recipes.items()):
        look = CRITERIA.get(one.criterion, {"label": f"TrimLLM, {one.criterion}"})
        if one.criterion in seen:
            look = {"label": f"{look['label']}: {name}"}
        found[name] = OTHERS[place % len(OTHERS)] | look
        seen.add(one.criterion)
    return found


@contextmanager
def figure(
    stem: str | Path,
    title: str,
    size: tuple[float, float],
    rows: int,
    columns: int,
    legend: int,
    **layout: Any,
) -> Iterator[tuple[Any, list[str]]]:
    """Axes (rows x columns) of a figure of so many inches, and a list for notes beneath it.

    Writes STEM.pdf and STEM.png when it is left without an error. The notes say where the numbers
    come from and what is missing. `legend`: columns of the legend; `layout` goes to `subplots`.
    """
    notes: list[str] = []
    with rc_context(SETTINGS):
        drawn = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(drawn)
        axes = drawn.subplots(rows, columns, squeeze=False, **layout)
        yield axes, notes
        drawn.suptitle(title, fontsize=9)
        # Laid out once: each file would do it again, which takes longer than to write them.
        drawn.draw_without_rendering()
        drawn.set_layout_engine(None)
        _underneath(drawn, axes.flat, legend, notes)
        save(drawn, stem)


def _underneath(drawn: Figure, axes: Iterable[Any], columns: int, notes: Iterable[str]) -> None:
    """Under a figure: one legend for all its axes, every name once, then small print."""
    named = {
        name: handle
        for ax in axes
        for handle, name in zip(*ax.get_legend_handles_labels(), strict=True)
    }
    bottom = -0.01
    if named:
        place = {"loc": "upper center", "bbox_to_anchor": (0.5, bottom)}
        columns = min(columns, len(named))
        legend = drawn.legend(named.values(), named.keys(), ncols=columns, **place)
        bottom = legend.get_window_extent().transformed(drawn.transFigure.inverted()).y0
    width = int(drawn.get_figwidth() * 19)
    lines = [line for note in notes for line in textwrap.wrap(note, width)]
    small = {"fontsize": 6.5, "color": "#333333", "ha": "left", "va": "top"}
    drawn.text(0.01, bottom - 0.02, "\n".join(lines), **small)


def say_in_place(ax: Any, text: str) -> None:
    """Words in place of a panel that has nothing to show."""
    ax.set_axis_off()
    ax.text(0.5, 0.5, text, ha="center", va="center", transform=ax.transAxes, color="#555555")


def save(drawn: Figure, stem: str | Path) -> None:
    """Write STEM.pdf and STEM.png, whole or not at all, without a date in them."""
    around = drawn.get_tightbbox().padded(rcParams["savefig.pad_inches"])
    for suffix, metadata in (("pdf", {"CreationDate": None}), ("png", {"Software": None})):
        final = Path(f"{stem}.{suffix}")
        final.parent.mkdir(parents=True, exist_ok=True)
        temporary = final.with_name(f".{final.name}.tmp")
        try:
            drawn.savefig(temporary, format=suffix, metadata=metadata, bbox_inches=around)
            if suffix == "png":
                _reduce(temporary)
            temporary.replace(final)
        finally:
            temporary.unlink(missing_ok=True)


def _reduce(picture: Path) -> None:
    """Store a PNG with 256 colours: a third of the bytes, and no eye sees it.

    The report shows figures as addresses, which browsers limit to 2 MiB.
    """
    with Image.open(picture) as whole:
        dpi = whole.info["dpi"]
        few = whole.convert("RGB").quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    few.save(picture, format="PNG", optimize=True, dpi=dpi)
