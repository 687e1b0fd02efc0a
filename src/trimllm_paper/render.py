"""A filled table as CSV, Markdown and LaTeX.

Measured and published numbers never share a line: each row has a line of ours and, below, a line of
the paper's that names its model. The CSV is the complete form, one line a cell.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from trimllm.base.files import write_text
from trimllm_paper import verdict
from trimllm_paper.frames import where
from trimllm_paper.published import display
from trimllm_paper.specification import Column

DAGGER = "†"
LEGEND = (
    "In brackets: 95% interval (of accuracies over documents and seeds, of speeds over rounds), of "
    "sizes the smallest and largest; ±: standard deviation over seeds. Verdicts: "
    + "; ".join(f"{mark} {name}" for name, mark in verdict.MARKS.items())
    + "; no mark: nothing to compare with. Rules: src/trimllm_paper/verdict.py; reasons: the CSV."
)


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
        matching = where(self.cells, block=block, row=row, column=column)
        if matching.empty:
            raise KeyError((block, row, column))
        plain = matching.astype(object).where(matching.notna(), None)
        return next(plain.itertuples(index=False, name="Cell"))

    @property
    def parts(self) -> Iterator[tuple[str, str, pd.DataFrame]]:
        """Heading of a block, where it begins, heading of a section, if it has one, and its cells
        as text: a line of ours, and below it the paper's."""
        measured = self.cells.value.notna().groupby(self.cells.block).transform("any")
        cells, started = self.cells.assign(measured=measured), set[str]()
        columns = ["Recipe", *(column.label for column in self.columns)]
        for _, part in cells.groupby(["block", "section"], sort=False, dropna=False):
            first, lines = part.iloc[0], []
            heading = f"{first.block_label}: measured"
            if not first.measured:
                heading = f"{first.block_label}: the paper's numbers, nothing measured here"
            elif first.published_as and not first.is_paper:
                heading += f", a stand-in for {first.published_as}"
            for _, row in part.groupby("row", sort=False):
                label = row.row_label.iloc[0]
                pairs = [*zip(row.itertuples(), self.columns, strict=True)]
                if first.measured:
                    lines.append([label, *(_measured(*pair) for pair in pairs)])
                    label = f"paper, {first.published_as}"
                if first.published_as and row.printed.notna().any():
                    lines.append([label, *(display(one.printed, c.digits) for one, c in pairs)])
            texts = pd.DataFrame(lines, columns=columns)
            yield "" if first.block in started else heading, first.section or "", texts
            started.add(first.block)


def _measured(cell: Any, column: Column) -> str:
    """A measured cell in words: `78.0 (71.8 to 83.2) ~`, `not run` or `none`."""
    if pd.isna(cell.value):
        return cell.verdict if cell.verdict in (verdict.NOT_RUN, verdict.NONE) else "–"
    form = f"{'+' if column.shows == 'difference' else ''}.{column.digits}f"
    text, low, high = (f"{number:{form}}" for number in (cell.value, cell.low, cell.high))
    text += column.unit
    if pd.notna(cell.deviation) and pd.isna(cell.low):
        text += f" ± {cell.deviation:{form}}"
    elif low != high:
        text += f" ({low} to {high})"
    return f"{text} {verdict.MARKS.get(cell.verdict, '')}".rstrip()


def to_csv(table: Rendered) -> str:
    """The long frame, numbers unrounded, empty where a value does not exist."""
    plain = table.cells.drop(columns=["details", "sources", "is_paper"])
    details = pd.DataFrame(list(table.cells.details), index=plain.index, dtype=object)
    plain = plain.join(details).assign(sources=table.cells.sources.map(";".join))
    plain["n"] = plain.n.astype("Int64")
    return plain.to_csv(index=False, lineterminator="\n")


def escape_markdown(text: str) -> str:
    """Text as GitHub shows it literally. Underscores inside words (drop_30) are literal anyway."""
    return re.sub(r"([\\`*|<\[])", r"\\\1", " ".join(text.split()))


def _escaped(part: pd.DataFrame, escape: Callable[[str], str], slanted: str) -> pd.DataFrame:
    """Cells as a format shows them; the paper's lines below ours in italics."""
    cells, papers = part.rename(columns=escape).map(escape), part.Recipe.str.startswith("paper, ")
    cells[papers] = cells[papers].map(slanted.format)
    return cells


def to_markdown(table: Rendered) -> str:
    """GitHub Markdown, padded so that it reads as plain text too."""

    def bullets(lines: Iterable[str]) -> str:
        return "\n".join(f"- {escape_markdown(line)}" for line in lines)

    texts = [f"# {escape_markdown(table.title)}", bullets(table.header)]
    for heading, section, part in table.parts:
        cells = _escaped(part, escape_markdown, "*{}*")
        grid = cells.to_markdown(index=False, tablefmt="github", disable_numparse=True)
        texts += [f"## {escape_markdown(heading)}"] if heading else []
        texts += [f"### {escape_markdown(section)}"] if section else []
        texts.append(grid)
    return "\n\n".join(filter(None, [*texts, bullets([LEGEND, *table.notes])])) + "\n"


LATEX = {
    **{"\\": r"\textbackslash{}", "^": r"\textasciicircum{}", '"': r"''", "–": "--"},
    **{char: f"\\{char}" for char in "{}$&%#_"},
    **{"~": r"$\sim$", "<": r"$<$", ">": r"$>$", "|": r"$|$", "≥": r"$\geq$", "±": r"$\pm$"},
    **{"×": r"$\times$", "→": r"$\to$", "·": r"$\cdot$", "δ": r"$\delta$", "²": r"$^2$"},
    **{"≁": r"$\not\sim$", "↓": r"$\downarrow$", "−": "$-$"},
    **{"†": r"$^\dagger$", "✓": r"$\surd$", "✗": r"$\times$"},
    **{"[": "{[}", "]": "{]}"},  # a line that starts with [ would be read as an option of \\
}
LATEX_TABLE = r"""%% \usepackage{booktabs,adjustbox}
\begin{table*}
\centering\footnotesize
\caption{%s.}
\label{tab:%s}
\begin{adjustbox}{max width=\textwidth, max totalheight=0.75\textheight}
\begin{tabular}{@{}l@{}}
%s
\end{tabular}
\end{adjustbox}
\par\smallskip\parbox{\textwidth}{\scriptsize %s}
\end{table*}
"""


def escape_latex(text: str) -> str:
    """Text as LaTeX typesets it literally. One pass, so that nothing is escaped twice."""
    return "".join(LATEX.get(char, char) for char in " ".join(text.split()))


def to_latex(table: Rendered) -> str:
    """A `table*` that fits the page; needs `\\usepackage{booktabs,adjustbox}`."""
    body = []
    for heading, section, part in table.parts:
        cells = _escaped(part, escape_latex, r"\textit{{{}}}")
        body += [rf"\textbf{{{escape_latex(heading)}}} \\"] if heading else []
        body += [rf"\emph{{{escape_latex(section)}}} \\"] if section else []
        body.append(cells.to_latex(index=False) + r"\\")
    notes = (f"{text.rstrip('.')}." for text in (*table.header, LEGEND, *table.notes))
    texts = (escape_latex(table.title), table.key, "\n".join(body), escape_latex(" ".join(notes)))
    return LATEX_TABLE % texts


def render(table: Rendered, stem: str | Path) -> None:
    """Write stem.csv, stem.md and stem.tex, each atomically."""
    forms = {"csv": to_csv, "md": to_markdown, "tex": to_latex}
    texts = {suffix: form(table) for suffix, form in forms.items()}
    for suffix, text in texts.items():
        write_text(f"{stem}.{suffix}", text)
