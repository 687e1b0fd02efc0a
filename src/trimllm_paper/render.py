"""A table of the paper, any of them, and its three forms: CSV, Markdown, LaTeX.

A block belongs to one model. Its measured numbers and the published ones never share a line: each
recipe has a line of ours and, under it, a line that names the paper and the paper's model. CSV is
the complete form, one line a cell with everything known about it; the others show the same lines
(`lines_of`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
from jinja2 import Environment

from trimllm.base.files import write_text
from trimllm_paper import verdict
from trimllm_paper.layout import Column
from trimllm_paper.published import Value, bound_percent, display

DAGGER = "†"
LATEX_PAGE = Path(__file__).with_name("table.tex.jinja")


@dataclass(frozen=True)
class Cell:
    """One cell: what was measured, what the paper prints, and what the one says of the other.

    `verdict` is None where the paper publishes nothing to compare with; `spread` the smallest and
    largest, or the quartiles, of what `measured` stands for; `deviation` that over seeds, where it
    is a mean of several, shown where there is no interval; `sources` the files behind it; `details`
    more columns of the CSV.
    """

    measured: float | None = None
    published: Value = None
    verdict: str | None = None
    n: int | None = None
    ci95: tuple[float, float] | None = None
    spread: tuple[float, float] | None = None
    deviation: float | None = None
    why: str = ""
    sources: tuple[str, ...] = ()
    details: Mapping[str, str | float | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Line:
    """The cells of one recipe, by column. A `section` is printed as a line when it changes."""

    key: str
    label: str
    cells: Mapping[str, Cell]
    section: str | None = None


@dataclass(frozen=True)
class Block:
    """The lines of one model; `published_as` names the paper's, which it is if `is_paper`."""

    key: str
    label: str
    rows: tuple[Line, ...] = ()
    published_as: str | None = None
    is_paper: bool = False

    @property
    def measured(self) -> bool:
        """Whether anything in the block was measured."""
        return any(c.measured is not None for row in self.rows for c in row.cells.values())

    @property
    def heading(self) -> str:
        """What the block is, in words."""
        if not self.measured:
            return f"{self.label}: the paper's numbers, nothing measured here"
        if self.is_paper or not self.published_as:
            return f"{self.label}: measured"
        return f"{self.label}: measured, a stand-in for {self.published_as}"


@dataclass(frozen=True)
class Table:
    """A whole table: `header` says above it what it stands on, `notes` below how it was made."""

    key: str
    title: str
    columns: tuple[Column, ...]
    blocks: tuple[Block, ...]
    header: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    brackets: str = "95% interval over documents and seeds"

    def cell(self, block: str, row: str, column: str) -> Cell:
        """One cell by its keys. Raises `KeyError` where there is none."""
        lines = {(b.key, line.key): line for b in self.blocks for line in b.rows}
        return lines[block, row].cells[column]

    @property
    def legend(self) -> str:
        """What the marks mean, and what stands in brackets."""
        marks = "; ".join(f"{mark} {name}" for name, mark in verdict.MARKS.items())
        return (
            f"Value ({self.brackets}) and verdict: {marks}; no mark: the paper has no such number, "
            "or it was asked for. The rules are in verdict.py of src/trimllm_paper, the reason for "
            f"each cell in the CSV. {DAGGER} measured on stand-in data."
        )


def to_csv(table: Table) -> str:
    """One line per cell, numbers unrounded, empty where a value does not exist."""
    lines = [
        {
            "model": block.key,
            "model_label": block.label,
            "published_model": block.published_as,
            "row": row.key,
            "row_label": row.label,
            "section": row.section,
            "column": column.key,
            "measured": cell.measured,
            "n": cell.n,
            **dict(zip(("ci95_low", "ci95_high"), cell.ci95 or (None, None), strict=True)),
            **dict(zip(("spread_low", "spread_high"), cell.spread or (None, None), strict=True)),
            "deviation": cell.deviation,
            "published": bound_percent(cell.published),
            "published_as_printed": cell.published if isinstance(cell.published, str) else None,
            "verdict": cell.verdict,
            "why": cell.why,
            "stand_in": column.stand_in if cell.measured is not None else None,
            **cell.details,
            "sources": ";".join(cell.sources),
        }
        for block in table.blocks
        for row in block.rows
        for column in table.columns
        for cell in [row.cells[column.key]]
    ]
    names = dict.fromkeys(name for line in lines for name in line if name != "sources")
    frame = pd.DataFrame(lines, columns=[*names, "sources"], dtype=object)
    return frame.to_csv(index=False, lineterminator="\n")


def _measured(cell: Cell, column: Column) -> str:
    """A measured cell in words: `78.0 (71.8–83.2) ~`, or `not run`."""
    if cell.measured is None:
        return verdict.NOT_RUN if cell.verdict == verdict.NOT_RUN else "–"
    sign, to = ("+", " to ") if column.minus else ("", "–")
    text = f"{cell.measured:{sign}.{column.digits}f}{column.unit}"
    low, high = cell.ci95 or cell.spread or (None, None)
    if cell.deviation is not None and not cell.ci95:
        text += f" ± {cell.deviation:.{column.digits}f}"
    elif cell.ci95 or (
        low is not None and (f"{low:.1f}" != f"{high:.1f}" or column.interval_digits)
    ):
        digits = column.interval_digits
        digits = min(1, column.digits) if digits is None else digits
        text += f" ({low:{sign}.{digits}f}{to}{high:{sign}.{digits}f})"
    return f"{text} {verdict.MARKS.get(cell.verdict or '', '')}".rstrip()


def lines_of(table: Table) -> Iterator[tuple[str, str, list[str]]]:
    """The lines that Markdown and LaTeX share, in order: kind, label, texts of the cells.

    A line is a `block`'s or a `section`'s heading, what was `measured`, or what the `paper` prints.
    """
    for block in table.blocks:
        yield "block", block.heading, []
        section = None
        for row in block.rows:
            cells = [(row.cells[column.key], column) for column in table.columns]
            if row.section and row.section != section:
                yield "section", row.section, []
            section = row.section
            if block.measured:
                yield "measured", row.label, [_measured(*cell) for cell in cells]
            if block.published_as and any(cell.published is not None for cell, _ in cells):
                label = f"paper, {block.published_as}" if block.measured else row.label
                yield "paper", label, [display(c.published, column.digits) for c, column in cells]


def _heads(columns: Sequence[Column]) -> list[str]:
    return [column.label + (DAGGER if column.stand_in else "") for column in columns]


def to_markdown(table: Table) -> str:
    """GitHub Markdown, padded so that it reads as plain text too."""
    fonts = {"block": "**{}**", "section": "*{}*", "paper": "*{}*", "measured": "{}"}
    grid = [["Recipe", *map(_escape_markdown, _heads(table.columns))]]
    for kind, head, cells in lines_of(table):
        label, *texts = (fonts[kind].format(_escape_markdown(text)) for text in (head, *cells))
        texts = texts or [""] * len(table.columns)
        grid.append([f"&nbsp; {label}" if kind == "paper" else label, *texts])
    # Headings are long and have the line for themselves: they do not widen the first column.
    lines = [row for row in grid if any(row[1:])]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    grid.insert(1, ["-" * width for width in widths])
    padded = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in grid]
    above, below = (
        "\n".join(f"- {_escape_markdown(line)}" for line in lines)
        for lines in (table.header, (table.legend, *table.notes))
    )
    parts = [f"# {_escape_markdown(table.title)}", above, "\n".join(padded), below]
    return "\n\n".join(filter(None, parts)) + "\n"


def _escape_markdown(text: str) -> str:
    # Underscores inside words (drop_30) and a `~` alone are literal on GitHub; the rest is not.
    escaped = re.sub(r"([\\`*|\[\]])", r"\\\1", " ".join(text.split()))
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


LATEX = {
    "\\": r"\textbackslash{}",
    **{char: f"\\{char}" for char in "{}$&%#_"},
    "^": r"\textasciicircum{}",
    '"': r"''",
    "–": "--",
    **{"~": r"$\sim$", "<": r"$<$", ">": r"$>$", "|": r"$|$", "≥": r"$\geq$", "±": r"$\pm$"},
    **{"×": r"$\times$", "→": r"$\to$", "·": r"$\cdot$", "δ": r"$\delta$", "²": r"$^2$"},
    **{"≁": r"$\not\sim$", "↓": r"$\downarrow$"},
    **{"†": r"$^\dagger$", "✓": r"$\surd$", "✗": r"$\times$"},
    **{"[": "{[}", "]": "{]}"},  # a line that starts with [ would be read as an option of \\
}


def escape_latex(text: str) -> str:
    """Text as LaTeX typesets it literally. One pass, so that nothing is escaped twice."""
    return "".join(LATEX.get(char, char) for char in " ".join(text.split()))


def to_latex(table: Table) -> str:
    """A `table*` with booktabs rules; needs `\\usepackage{booktabs}`."""
    page = Environment("<%", "%>", "<<", ">>", trim_blocks=True, keep_trailing_newline=True)
    page.filters["tex"] = escape_latex
    caption, notes = (
        " ".join(text if text.endswith((".", "!", "?")) else f"{text}." for text in texts)
        for texts in ((f"{table.title}.", *table.header), (table.legend, *table.notes))
    )
    lines, heads = lines_of(table), ["Recipe", *_heads(table.columns)]
    template = page.from_string(LATEX_PAGE.read_text(encoding="utf-8"))
    shown = {"caption": caption, "notes": notes, "heads": heads, "lines": lines}
    return template.render(key=table.key, **shown)


def render(table: Table, stem: str | Path) -> None:
    """Write stem.csv, stem.md and stem.tex, each atomically."""
    forms = {"csv": to_csv, "md": to_markdown, "tex": to_latex}
    texts = {suffix: form(table) for suffix, form in forms.items()}
    for suffix, text in texts.items():
        write_text(f"{stem}.{suffix}", text)
