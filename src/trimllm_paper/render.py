"""A filled table as CSV, Markdown and LaTeX.

Measured and published numbers never share a line: each row has a line of ours and, below, a line of
the paper's that names its model. The CSV is the complete form, one line a cell.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from trimllm.base.files import write_text
from trimllm_paper import verdict
from trimllm_paper.published import display
from trimllm_paper.specification import Column

DAGGER = "†"
LEGEND = (
    "In brackets: 95% interval (of accuracies over documents and seeds, of speeds over rounds); of "
    "sizes the smallest and largest; ±: standard deviation over seeds. Verdict: "
    + "; ".join(f"{mark} {name}" for name, mark in verdict.MARKS.items())
    + "; no mark: nothing to compare with. The rules are in src/trimllm_paper/verdict.py, the "
    f"reason for each cell in the CSV. {DAGGER} measured on stand-in data."
)
Line = tuple[str, str, list[str]]
"""Kind, label and cells of a line: a `block`'s or a `section`'s heading (no cells), what was
`measured`, or what the `paper` prints."""


@dataclass(frozen=True)
class Rendered:
    """A filled table.

    Attributes:
        cells: the long frame: block, block_label, published_as, is_paper, row, row_label, section,
            column, value, low, high, deviation, n, printed, verdict, why, sources, details.
        header, notes: lines above and below.
    """

    key: str
    title: str
    columns: Sequence[Column]
    cells: pd.DataFrame
    header: Sequence[str] = ()
    notes: Sequence[str] = ()

    def cell(self, block: str, row: str, column: str) -> Any:
        """A cell as a named tuple of plain values. Raises `KeyError` where there is none."""
        cells = self.cells.astype(object).where(self.cells.notna(), None)
        plain = cells.set_index(["block", "row", "column"]).loc[(block, row, column)]
        return next(plain.to_frame().T.itertuples(index=False, name="Cell"))

    @property
    def heads(self) -> list[str]:
        """Heads of all columns."""
        return ["Recipe", *(column.label for column in self.columns)]

    @property
    def lines(self) -> Iterator[Line]:
        """What Markdown and LaTeX show below the heads."""
        for _, block in self.cells.groupby("block", sort=False):
            first, measured = block.iloc[0], block.value.notna().any()
            heading = "measured"
            if not measured:
                heading = "the paper's numbers, nothing measured here"
            elif first.published_as and not first.is_paper:
                heading = f"measured, a stand-in for {first.published_as}"
            yield "block", f"{first.block_label}: {heading}", []
            section = None
            for _, row in block.groupby("row", sort=False):
                first, cells = row.iloc[0], list(zip(row.itertuples(), self.columns, strict=True))
                if first.section and first.section != section:
                    yield "section", first.section, []
                section = first.section
                if measured:
                    yield "measured", first.row_label, [_measured(*cell) for cell in cells]
                if first.published_as and row.printed.notna().any():
                    label = f"paper, {first.published_as}" if measured else first.row_label
                    yield "paper", label, [display(cell.printed, c.digits) for cell, c in cells]


def _measured(cell: Any, column: Column) -> str:
    """A measured cell in words: `78.0 (71.8–83.2) ~`, `not run` or `none`."""
    if pd.isna(cell.value):
        return cell.verdict if cell.verdict in (verdict.NOT_RUN, verdict.NONE) else "–"
    sign, to = ("+", " to ") if column.shows == "difference" else ("", "–")
    form = f"{sign}.{column.digits}f"
    text, low, high = (f"{number:{form}}" for number in (cell.value, cell.low, cell.high))
    text += column.unit
    if not pd.isna(cell.deviation) and pd.isna(cell.low):
        text += f" ± {cell.deviation:{form}}"
    elif low != high:
        text += f" ({low}{to}{high})"
    return f"{text} {verdict.MARKS.get(cell.verdict, '')}".rstrip()


def to_csv(table: Rendered) -> str:
    """The long frame, numbers unrounded, empty where a value does not exist."""
    plain = table.cells.drop(columns=["details", "sources", "is_paper"])
    details = pd.DataFrame(list(table.cells.details), index=plain.index, dtype=object)
    plain = plain.join(details).assign(sources=table.cells.sources.map(";".join))
    plain["n"] = plain.n.astype("Int64")
    return plain.to_csv(index=False, lineterminator="\n")


def to_markdown(table: Rendered) -> str:
    """GitHub Markdown, padded so that it reads as plain text too."""
    fonts = {"block": "**{}**", "section": "*{}*", "paper": "*{}*", "measured": "{}"}
    grid = [list(map(_escape_markdown, table.heads))]
    for kind, head, cells in table.lines:
        label, *texts = (fonts[kind].format(_escape_markdown(text)) for text in (head, *cells))
        texts = texts or [""] * len(table.columns)
        grid.append([f"&nbsp; {label}" if kind == "paper" else label, *texts])
    # Headings have a line for themselves: they do not widen the first column.
    lines = [row for row in grid if any(row[1:])]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    grid.insert(1, ["-" * width for width in widths])
    padded = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in grid]
    above, below = (
        "\n".join(f"- {_escape_markdown(line)}" for line in lines)
        for lines in (table.header, (LEGEND, *table.notes))
    )
    parts = [f"# {_escape_markdown(table.title)}", above, "\n".join(padded), below]
    return "\n\n".join(filter(None, parts)) + "\n"


def _escape_markdown(text: str) -> str:
    # Underscores inside words (drop_30) and a `~` alone are literal on GitHub; the rest is not.
    escaped = re.sub(r"([\\`*|\[\]])", r"\\\1", " ".join(text.split()))
    return escaped.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


LATEX = {
    **{"\\": r"\textbackslash{}", "^": r"\textasciicircum{}", '"': r"''", "–": "--"},
    **{char: f"\\{char}" for char in "{}$&%#_"},
    **{"~": r"$\sim$", "<": r"$<$", ">": r"$>$", "|": r"$|$", "≥": r"$\geq$", "±": r"$\pm$"},
    **{"×": r"$\times$", "→": r"$\to$", "·": r"$\cdot$", "δ": r"$\delta$", "²": r"$^2$"},
    **{"≁": r"$\not\sim$", "↓": r"$\downarrow$", "−": "$-$"},
    **{"†": r"$^\dagger$", "✓": r"$\surd$", "✗": r"$\times$"},
    **{"[": "{[}", "]": "{]}"},  # a line that starts with [ would be read as an option of \\
}
LATEX_LINES = {
    "block": r"\midrule \multicolumn{%d}{l}{\textbf{%s}}",
    "section": r"\addlinespace \multicolumn{%d}{l}{\emph{%s}}",
}
LATEX_TABLE = r"""% \usepackage{booktabs,adjustbox}
\begin{table*}
\centering\footnotesize
\caption{<caption>}
\label{tab:<key>}
\begin{adjustbox}{max width=\textwidth, max totalheight=0.75\textheight}
\begin{tabular}{<columns>}
\toprule
<body>
\bottomrule
\end{tabular}
\end{adjustbox}
\par\smallskip\parbox{\textwidth}{\scriptsize <notes>}
\end{table*}
"""


def escape_latex(text: str) -> str:
    """Text as LaTeX typesets it literally. One pass, so that nothing is escaped twice."""
    return "".join(LATEX.get(char, char) for char in " ".join(text.split()))


def to_latex(table: Rendered) -> str:
    """A `table*` that fits the page; needs `\\usepackage{booktabs,adjustbox}`."""
    many, body = len(table.heads), [" & ".join(map(escape_latex, table.heads))]
    for kind, head, cells in table.lines:
        label, *texts = map(escape_latex, (head, *cells))
        if kind in LATEX_LINES:
            body.append(LATEX_LINES[kind] % (many, label))
        elif kind == "paper":
            emphasized = (rf"\emph{{{text}}}" for text in (label, *texts))
            body.append(r"\quad" + " & ".join(emphasized))
        else:
            body.append(" & ".join([label, *texts]))
    notes = (f"{text.rstrip('.')}." for text in (*table.header, LEGEND, *table.notes))
    parts = {
        "<caption>": escape_latex(f"{table.title.rstrip('.')}."),
        **{"<key>": table.key, "<columns>": "l" * many, "<notes>": escape_latex(" ".join(notes))},
        "<body>": "\n".join(rf"{line} \\" for line in body),
    }
    return re.sub("|".join(parts), lambda part: parts[part[0]], LATEX_TABLE)


def render(table: Rendered, stem: str | Path) -> None:
    """Write stem.csv, stem.md and stem.tex, each atomically."""
    forms = {"csv": to_csv, "md": to_markdown, "tex": to_latex}
    texts = {suffix: form(table) for suffix, form in forms.items()}
    for suffix, text in texts.items():
        write_text(f"{stem}.{suffix}", text)
