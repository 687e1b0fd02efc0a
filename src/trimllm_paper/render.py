"""A filled table: its words, and its forms as CSV, Markdown and LaTeX.

Measured and published numbers never share a line: each row has a line of ours and, below, a line of
the paper's that names its model. The CSV is the complete form, one line a cell; what concerns
single cells (commits, losses, seeds) stands there alone.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from trimllm.base.files import write_text
from trimllm_paper import published, verdict
from trimllm_paper.context import BY_LORA, FULL, Context
from trimllm_paper.frames import Frame, tier_note, where
from trimllm_paper.published import Value
from trimllm_paper.specification import Column, Table

DAGGER = "†"
LEGEND = (
    "In brackets: 95% interval (of accuracies over documents and seeds, of speeds over rounds), of "
    "sizes the smallest and largest; ±: standard deviation over seeds. Verdicts: "
    + "; ".join(f"{mark} {name}" for name, mark in verdict.MARKS.items())
    + "; no mark: nothing to compare with. Seen: the gain over Pretrained, the share of Full-FT or "
    "the gain in speed is as the paper says; collapsed: near chance (verdict.py). Reasons: the CSV."
)


# ---- words: labels of columns, lines above and below ---------------------------------------------


def labelled(spec: Table, frame: Frame, context: Context) -> Table:
    """A table whose columns of accuracy say what was measured: whether F1, and on which stand-in
    data, by their records or their domain."""
    columns = []
    for column in spec.columns:
        label = context.named(column.label)
        if column.shows == "accuracy":
            measured = frame.evaluations[frame.evaluations.task.isin(column.tasks)]
            recorded = "; ".join(filter(None, dict.fromkeys(measured.stand_in)))
            column = replace(column, stand_in=recorded or column.stand_in)
            label += " (F1)" if measured.token_f1.notna().any() else ""
            label += DAGGER if column.stand_in else ""
        columns.append(replace(column, label=label))
    return replace(spec, columns=tuple(columns))


def header(spec: Table, frame: Frame, context: Context) -> Iterator[str]:
    """What the measured numbers stand on."""
    yield from map(context.named, spec.header)
    timings = spec.timings(frame)
    keys = ("prompt", "generate", "repeats")
    protocols = {tuple(one["protocol"][key] for key in keys) for one in timings.content}
    for prompt, generate, repeats in sorted(protocols):
        yield (
            f"Speed: {prompt} prompt and {generate} generated tokens; median of {repeats} "
            "rounds in fresh processes, each in turn with the full model"
        )
    domains = {content.get("domain") for content in timings[timings.base == "trim"].content}
    if named := [one.label for one in context.domains if one.name in domains]:
        yield f"Speeds and sublayer bytes are those of the checkpoint of {', '.join(named)}"
    if spec.blocks == "engine" and len(timings):
        yield f"Engines: {'; '.join(dict.fromkeys(timings.format + ': ' + timings.how))}"
    if context.lora and spec.blocks != "machine":
        yield (
            f"Stand-in for full fine-tuning: {BY_LORA}, adapters beside frozen weights, merged at "
            f"the end. No verdict is one on {FULL}, which the paper's lines show"
        )
    tested = [one for one in spec.columns if one.shows == "accuracy" and one.stand_in]
    if stand_ins := [f"{one.label.removesuffix(DAGGER)}: {one.stand_in}" for one in tested]:
        yield f"{DAGGER} Stand-in data. {'. '.join(stand_ins)}"


def notes(spec: Table, frame: Frame, context: Context, cells: pd.DataFrame) -> Iterator[str]:
    """Those of the table, contradictions of the paper, test documents and chance levels, what
    intervals cover, source of the numbers."""
    yield from map(context.named, spec.notes)
    if known := published.contradictions(table=spec.key):
        yield f"In the paper itself: {' '.join(one['text'] for one in known)}"
    shown, documents = {column.shows for column in spec.columns}, []
    for column in spec.columns:
        measured = cells[(cells.column == column.key) & cells.n.notna()]
        if column.shows == "accuracy" and len(measured):
            details = measured.details.iloc[0]
            words = "" if details["chance"] is None else f" (chance {details['chance']:.1f}%)"
            words = " (free answers, F1 of words)" if "token_f1" in details else words
            documents.append(f"{column.label.removesuffix(DAGGER)} {measured.n.max()}{words}")
    if documents:
        cell = frame.evaluations.groupby(["model", "domain", "task", "recipe"])
        most, fewest = cell.seed.nunique().max(), cell.seed.nunique().min()
        some = f"; some cells have {fewest}" if fewest < most else ""
        seeds = (
            f"Means of {most} seeds{some} (CSV column `seeds`). Intervals cover documents "
            "and seeds, whose variance is pooled over a recipe's cells in the table, so the same "
            "result can have a different interval in another table."
        )
        if most == 1:
            seeds = "One seed: intervals cover the test documents alone (Wilson)."
        yield f"Test documents: {', '.join(documents)}. {seeds}"
    tables = [*([frame.evaluations] if "accuracy" in shown else []), spec.timings(frame)]
    tables += [frame.trainings, frame.epochs] if "time" in shown else []
    hardware = [(one or {}).get("hardware") or {} for table in tables for one in table.provenance]
    machines = dict.fromkeys(str(one.get("gpu") or one.get("cpu") or "") for one in hardware)
    on = ", ".join(filter(None, machines))
    tier = tier_note([source for table in tables for source in table.source])
    yield f"{tier}{f'. Hardware: {on}' if on else ''}. Commits are in the CSV."


# ---- forms ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rendered:
    """A filled table, with lines above and below. `cells` is the long frame: block, block_label,
    published_as, is_paper, row, row_label, section, column, value, low, high, deviation, n,
    sources, details, printed, verdict, why, stand_in."""

    key: str
    title: str
    columns: Sequence[Column]
    cells: pd.DataFrame
    header: Sequence[str] = ()
    notes: Sequence[str] = ()

    def cell(self, block: str, row: str, column: str) -> Any:
        """A cell as a named tuple of plain values."""
        matching = where(self.cells, block=block, row=row, column=column)
        plain = matching.astype(object).where(matching.notna(), None)
        return next(plain.itertuples(index=False, name="Cell"))

    @property
    def parts(self) -> Iterator[tuple[str, str, pd.DataFrame]]:
        """Heading of a block, where it begins, heading of a section, if it has one, and its cells
        as text: a line of ours, and below it the paper's."""
        columns = ["Recipe", *(column.label for column in self.columns)]
        for _, block in self.cells.groupby("block", sort=False):
            first, measured = block.iloc[0], block.value.notna().any()
            heading = f"{first.block_label}: measured"
            if not measured:
                heading = f"{first.block_label}: the paper's numbers, nothing measured here"
            elif first.published_as and not first.is_paper:
                heading += f", a stand-in for {first.published_as}"
            for _, part in block.groupby("section", sort=False, dropna=False):
                lines = []
                for _, row in part.groupby("row", sort=False):
                    label = row.row_label.iloc[0]
                    pairs = [*zip(row.itertuples(), self.columns, strict=True)]
                    if measured:
                        lines.append([label, *(_measured(*pair) for pair in pairs)])
                        label = f"paper, {first.published_as}"
                    if first.published_as and row.printed.notna().any():
                        lines.append([label, *(_printed(one.printed, c) for one, c in pairs)])
                yield heading, part.section.iloc[0] or "", pd.DataFrame(lines, columns=columns)
                heading = ""


def _printed(value: Value, column: Column) -> str:
    """A cell of the paper as text; a missing one is a dash."""
    if isinstance(value, str):
        return value.replace(">=", "≥")
    return "–" if value is None else f"{value:.{column.digits}f}"


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
    header, notes = (
        "\n".join(f"- {escape_markdown(line)}" for line in lines)
        for lines in (table.header, (LEGEND, *table.notes))
    )
    texts = [f"# {escape_markdown(table.title)}", header]
    for heading, section, part in table.parts:
        cells = _escaped(part, escape_markdown, "*{}*")
        texts += [f"## {escape_markdown(heading)}"] if heading else []
        texts += [f"### {escape_markdown(section)}"] if section else []
        texts.append(cells.to_markdown(index=False, tablefmt="github", disable_numparse=True))
    return "\n\n".join(filter(None, [*texts, notes])) + "\n"


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
    texts = {"csv": to_csv(table), "md": to_markdown(table), "tex": to_latex(table)}
    for suffix, text in texts.items():
        write_text(f"{stem}.{suffix}", text)
