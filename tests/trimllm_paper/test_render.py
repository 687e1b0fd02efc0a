"""Every cell reaches every form, nothing breaks the form, and files appear whole."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimllm_paper.layout import Column
from trimllm_paper.render import (
    LATEX,
    Block,
    Cell,
    Line,
    Table,
    escape_latex,
    render,
    to_csv,
    to_latex,
    to_markdown,
)

NASTY = r"a & b | 100% $x_1$ #2 {c} ~ ^ \d <e> *f* `g` [h] — é"


def small_table(text: str = "plain") -> Table:
    columns = (
        Column(key="acc", label=text, stand_in=text),
        Column(key="size", label="Size", digits=0, unit="%"),
    )
    measured = Cell(
        78.0, 82.4, "seen on the stand-in", 200, (71.8, 83.2), why=text, sources=("a.json",)
    )
    size = Cell(55.0, ">=50%", "seen on the stand-in", spread=(52.0, 58.0), details={"bytes": 12})
    absent = Cell(published=41.5, verdict="not run")
    rows = (
        Line("full_ft", text, {"acc": measured, "size": size}),
        Line("awq", "AWQ", {"acc": absent, "size": Cell(verdict="not run")}, section=text),
    )
    paper = (Line("full_ft", "Full-FT", {"acc": Cell(published=97.2), "size": Cell()}),)
    blocks = (
        Block("tiny", text, rows, published_as="LLaMA-7B"),
        Block("llama-13b", "LLaMA-13B", paper, published_as="LLaMA-13B", is_paper=True),
    )
    return Table("table2", text, columns, blocks, header=(text,), notes=(text,))


def markdown_rows(text: str) -> list[list[str]]:
    rows = [line for line in text.splitlines() if line.startswith("|")]
    return [[c.strip() for c in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows]


@pytest.mark.parametrize("form", [to_markdown, to_latex])
def test_every_cell_is_shown(form) -> None:
    shown = form(small_table())
    for number in ("78.0", "82.4", "41.5", "97.2", "55", "not run"):
        assert number in shown
    for bounds in ("71.8", "83.2", "52", "58"):
        assert bounds in shown
    assert {to_latex: r"$\geq$50\%"}.get(form, "≥50%") in shown


def test_measured_and_published_never_share_a_line() -> None:
    for line in to_markdown(small_table()).splitlines():
        assert not ("78.0" in line and "82.4" in line)
        if "82.4" in line:
            assert "paper, LLaMA-7B" in line


@pytest.mark.parametrize("text", [NASTY, "line\nbreak"])
def test_markdown_stays_a_table_whatever_the_text(text: str) -> None:
    rows = markdown_rows(to_markdown(small_table(text)))
    assert len(rows) == 2 + 8  # the heading, its rule, and the lines of the two blocks
    assert {len(row) for row in rows} == {3}
    assert set("".join(rows[1])) == {"-"}


@given(st.text())
def test_escaped_latex_has_no_active_character_left(text: str) -> None:
    escaped = escape_latex(text)
    for replacement in sorted(set(LATEX.values()), key=len, reverse=True):
        escaped = escaped.replace(replacement, "")
    assert not re.search(r"(?<!\\)[&%$#_{}~^\\]", escaped)


def test_latex_is_balanced_and_every_line_has_all_columns() -> None:
    text = to_latex(small_table(NASTY))
    bare = re.sub(r"\\[{}\\&]", lambda m: "" if m[0] != r"\\" else r"\\", text)
    assert bare.count("{") == bare.count("}")
    assert re.findall(r"\\begin\{([^}]*)\}", text) == ["table*", "tabular"]
    assert re.findall(r"\\end\{([^}]*)\}", text) == ["tabular", "table*"]
    body = text.split(r"\toprule")[1].split(r"\bottomrule")[0]
    for line in body.strip().splitlines():
        if line.endswith(r"\\") and "multicolumn" not in line:
            assert len(re.findall(r"(?<!\\)&", line)) == 2
    assert text.splitlines()[0] == r"% \usepackage{booktabs}"


@pytest.mark.parametrize("text", ["plain", NASTY, 'line\nbreak, "quoted"'])
def test_csv_round_trip_through_pandas(text: str) -> None:
    table = small_table(text)
    frame = pd.read_csv(io.StringIO(to_csv(table)))
    assert len(frame) == sum(len(b.rows) for b in table.blocks) * len(table.columns)
    for line in frame.itertuples():
        cell = table.cell(line.model, line.row, line.column)
        assert (None if pd.isna(line.measured) else line.measured) == cell.measured
        assert (None if pd.isna(line.verdict) else line.verdict) == cell.verdict
        assert (None if pd.isna(line.n) else line.n) == cell.n
        low = None if pd.isna(line.ci95_low) else (line.ci95_low, line.ci95_high)
        assert low == cell.ci95
    assert frame.why[0] == text
    assert frame.published.tolist()[:3] == [82.4, 50.0, 41.5]
    assert frame.published_as_printed[1] == ">=50%"
    assert frame.sources[0] == "a.json"


def test_a_failed_rendering_leaves_the_old_files(tmp_path: Path, monkeypatch) -> None:
    render(small_table(), tmp_path / "table2")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    monkeypatch.setattr("trimllm_paper.render.to_latex", lambda table: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        render(small_table("changed"), tmp_path / "table2")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
