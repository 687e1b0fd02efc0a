"""A table as CSV, Markdown, LaTeX and plain text.

CSV is the complete form, one line a cell with everything known about it. The other three show the
same lines (`lines_of`): per model and recipe what was measured, with its interval and a mark for
the verdict, and beneath it what the paper prints.
"""

from __future__ import annotations

import csv
import io
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trimllm.base.files import write_text
from trimllm_paper import verdict
from trimllm_paper.published import bound_percent, display
from trimllm_paper.tables.table import Block, Cell, Column, Table

FIELDS = (
    *("model", "model_label", "published_model", "row", "row_label", "section", "column"),
    *("measured", "n", "ci95_low", "ci95_high", "spread_low", "spread_high", "deviation"),
    *("published", "published_as_printed", "verdict", "why", "stand_in"),
)
"""Columns of every CSV; a table's own details and the sources follow."""

MARKS = {
    verdict.REPRODUCED: "✓",
    verdict.SHAPE_ONLY: "~",
    verdict.NOT_REPRODUCED: "✗",
    verdict.NOT_RUN: "",  # the cell itself says so
}
DAGGER = "†"


def to_csv(table: Table) -> str:
    """One line per cell, numbers unrounded, empty where a value does not exist."""
    cells = [
        (block, row, column, row.cells[column.key])
        for block in table.blocks
        for row in block.rows
        for column in table.columns
    ]
    details = list(dict.fromkeys(name for *_, cell in cells for name in cell.details))
    stream = io.StringIO()
    writer = csv.DictWriter(stream, [*FIELDS, *details, "sources"], lineterminator="\n")
    writer.writeheader()
    for block, row, column, cell in cells:
        low, high = cell.ci95 or (None, None)
        least, most = cell.spread or (None, None)
        printed = cell.published if isinstance(cell.published, str) else None
        line = {
            "model": block.key,
            "model_label": block.label,
            "published_model": block.published_as,
            "row": row.key,
            "row_label": row.label,
            "section": row.section,
            "column": column.key,
            "measured": cell.measured,
            "n": cell.n,
            "ci95_low": low,
            "ci95_high": high,
            "spread_low": least,
            "spread_high": most,
            "deviation": cell.deviation,
            "published": bound_percent(cell.published),
            "published_as_printed": printed,
            "verdict": cell.verdict,
            "why": cell.why,
            "stand_in": column.stand_in if cell.measured is not None else None,
            **cell.details,
            "sources": ";".join(cell.sources),
        }
        writer.writerow(line)
    return stream.getvalue()


@dataclass(frozen=True)
class Line:
    """One printed line: a `block` or `section` heading, what was `measured`, or the `paper`'s."""

    kind: str
    label: str
    texts: tuple[str, ...] = ()


def measured_text(cell: Cell, column: Column, *, interval_digits: int) -> str:
    """A measured cell in words: `78.0 (71.8–83.2) ~`, or `not run`."""
    if cell.measured is None:
        return verdict.NOT_RUN if cell.verdict == verdict.NOT_RUN else "–"
    text = f"{cell.measured:.{column.digits}f}{column.unit}"
    bounds = cell.ci95 or cell.spread
    if cell.deviation is not None:
        text += f" ± {cell.deviation:.{column.digits}f}"
    elif bounds and (
        cell.ci95 or f"{bounds[0]:.1f}" != f"{bounds[1]:.1f}" or column.interval_digits
    ):
        digits = column.interval_digits
        digits = min(interval_digits, column.digits) if digits is None else digits
        text += f" ({bounds[0]:.{digits}f}–{bounds[1]:.{digits}f})"
    mark = MARKS.get(cell.verdict or "", "")
    return f"{text} {mark}" if mark else text


def lines_of(
    table: Table, columns: Sequence[Column] | None = None, *, interval_digits: int = 1
) -> list[Line]:
    """The lines that Markdown, LaTeX and text share, in order; `columns` default to all."""
    columns = table.columns if columns is None else columns
    found: list[Line] = []
    for block in table.blocks:
        found.append(Line("block", _block_heading(block)))
        section = None
        for row in block.rows:
            cells = [(row.cells[column.key], column) for column in columns]
            if row.section and row.section != section:
                found.append(Line("section", row.section))
            section = row.section
            if block.measured:
                texts = [measured_text(c, col, interval_digits=interval_digits) for c, col in cells]
                found.append(Line("measured", row.label, tuple(texts)))
            if block.published_as and any(cell.published is not None for cell, _ in cells):
                label = f"paper, {block.published_as}" if block.measured else row.label
                texts = [display(cell.published, column.digits) for cell, column in cells]
                found.append(Line("paper", label, tuple(texts)))
    return found


def _block_heading(block: Block) -> str:
    if not block.measured:
        return f"{block.label}: the paper's numbers, nothing measured here"
    if block.is_paper or not block.published_as:
        return f"{block.label}: measured"
    return f"{block.label}: measured, a stand-in for {block.published_as}"


def _heading(column: Column, *, short: bool = False) -> str:
    label = column.short if short and column.short else column.label
    return label + (DAGGER if column.stand_in else "")


def legend(brackets: str = "95% interval") -> str:
    """What the marks mean, and what stands in brackets."""
    marks = "; ".join(f"{mark} {name}" for name, mark in MARKS.items() if mark)
    return (
        f"Value ({brackets}) and verdict: {marks}; no mark: the paper has no such number. "
        "The rules are in verdict.py and tables/speeds.py of src/trimllm/paper, the reason for "
        "each cell in the CSV. "
        f"{DAGGER} measured on stand-in data."
    )


def to_markdown(table: Table) -> str:
    """GitHub Markdown, padded so that it reads as plain text too."""
    columns = [_escape_markdown(_heading(column)) for column in table.columns]
    grid = [["Recipe", *columns]]
    for line in lines_of(table):
        label = _escape_markdown(line.label)
        if line.kind in ("block", "section"):
            label = f"**{label}**" if line.kind == "block" else f"*{label}*"
            grid.append([label, *[""] * len(columns)])
        elif line.kind == "paper":
            grid.append([f"&nbsp; *{label}*", *(f"*{_escape_markdown(t)}*" for t in line.texts)])
        else:
            grid.append([label, *map(_escape_markdown, line.texts)])
    # Headings are long and have the line for themselves: they do not widen the first column.
    body = [row for row in grid if any(row[1:])]
    widths = [max(len(row[i]) for row in body) for i in range(len(columns) + 1)]
    rule = ["-" * width for width in widths]
    padded = [
        "| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in [grid[0], rule, *grid[1:]]
    ]
    above = [f"- {_escape_markdown(line)}" for line in table.header]
    below = [f"- {_escape_markdown(note)}" for note in (legend(table.brackets), *table.notes)]
    parts = [f"# {_escape_markdown(table.title)}", *_paragraph(above), "\n".join(padded)]
    return "\n\n".join([*parts, *_paragraph(below)]) + "\n"


def _paragraph(lines: list[str]) -> list[str]:
    return ["\n".join(lines)] if lines else []


def _escape_markdown(text: str) -> str:
    # Underscores inside words (drop_30) and a `~` alone are literal on GitHub; the rest is not.
    escaped = re.sub(r"([\\`*|\[\]])", r"\\\1", " ".join(text.split()))
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


LATEX = {
    "\\": r"\textbackslash{}",
    **{char: f"\\{char}" for char in "{}$&%#_"},
    "^": r"\textasciicircum{}",
    "~": r"$\sim$",
    "<": r"$<$",
    ">": r"$>$",
    "|": r"$|$",
    '"': r"''",
    "–": "--",
    "≥": r"$\geq$",
    "±": r"$\pm$",
    "×": r"$\times$",
    "→": r"$\to$",
    "·": r"$\cdot$",
    "δ": r"$\delta$",
    "²": r"$^2$",
    "†": r"$^\dagger$",
    "✓": r"$\surd$",
    "✗": r"$\times$",
    "[": "{[}",  # a line that starts with [ would be read as an option of \\
    "]": "{]}",
}


def escape_latex(text: str) -> str:
    """Text as LaTeX typesets it literally. One pass, so that nothing is escaped twice."""
    return "".join(LATEX.get(char, char) for char in " ".join(text.split()))


def to_latex(table: Table) -> str:
    """A `table*` with booktabs rules; needs `\\usepackage{booktabs}`."""
    count = len(table.columns)
    heads = [_heading(column) for column in table.columns]
    out = [
        "% \\usepackage{booktabs}",
        "\\begin{table*}",
        "\\centering\\footnotesize",
        f"\\caption{{{escape_latex(' '.join([table.title + '.', *map(_stop, table.header)]))}}}",
        f"\\label{{tab:{table.key}}}",
        f"\\begin{{tabular}}{{{'l' * (count + 1)}}}",
        "\\toprule",
        _latex_row(["Recipe", *heads]),
    ]
    for line in lines_of(table):
        label = escape_latex(line.label)
        if line.kind == "block":
            heading = f"\\multicolumn{{{count + 1}}}{{l}}{{\\textbf{{{label}}}}} \\\\"
            out += ["\\midrule", heading]
        elif line.kind == "section":
            heading = f"\\multicolumn{{{count + 1}}}{{l}}{{\\emph{{{label}}}}} \\\\"
            out += ["\\addlinespace", heading]
        elif line.kind == "paper":
            cells = [f"\\emph{{{escape_latex(text)}}}" for text in line.texts]
            out.append(" & ".join([f"\\quad\\emph{{{label}}}", *cells]) + r" \\")
        else:
            out.append(_latex_row([line.label, *line.texts]))
    out += ["\\bottomrule", "\\end{tabular}"]
    notes = " ".join(map(_stop, (legend(table.brackets), *table.notes)))
    out += [f"\\par\\smallskip\\parbox{{\\textwidth}}{{\\scriptsize {escape_latex(notes)}}}"]
    return "\n".join([*out, "\\end{table*}"]) + "\n"


def _latex_row(texts: list[str]) -> str:
    return " & ".join(map(escape_latex, texts)) + r" \\"


def _stop(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else text + "."


def to_text(table: Table, width: int = 120) -> str:
    """Plain text for a terminal: intervals in whole points, notes wrapped to `width` characters."""
    columns = [column for column in table.columns if column.terminal]
    heads = ["", *(_heading(column, short=True) for column in columns)]
    lines = lines_of(table, columns, interval_digits=0)
    indent = {"measured": "", "paper": "  "}
    body = [[indent[x.kind] + x.label, *x.texts] for x in lines if x.kind in indent]
    widths = [max(len(row[i]) for row in [heads, *body]) for i in range(len(heads))]

    def formatted(cells: list[str]) -> str:
        return "  ".join(map(str.ljust, cells, widths)).rstrip()

    out = _wrapped((table.title, *table.header), width)
    out += ["", formatted(heads)]
    for line in lines:
        if line.kind == "block":
            out += ["-" * min(width, sum(widths) + 2 * len(widths) - 2), line.label]
        elif line.kind == "section":
            out.append(f"({line.label})")
        else:
            out.append(formatted([indent[line.kind] + line.label, *line.texts]))
    return "\n".join([*out, "", *_wrapped((legend(table.brackets), *table.notes), width)]) + "\n"


def _wrapped(paragraphs: tuple[str, ...], width: int) -> list[str]:
    return [
        line
        for text in paragraphs
        for line in textwrap.wrap(text, width, subsequent_indent="  ", break_long_words=False)
    ]


def render(table: Table, stem: str | Path) -> None:
    """Write stem.csv, stem.md, stem.tex and stem.txt, each atomically."""
    stem = Path(stem)
    forms = {".csv": to_csv, ".md": to_markdown, ".tex": to_latex, ".txt": to_text}
    texts = {suffix: form(table) for suffix, form in forms.items()}
    for suffix, text in texts.items():
        write_text(stem.parent / (stem.name + suffix), text)
