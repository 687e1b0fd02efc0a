"""Every cell reaches every form, nothing breaks the form, and files appear whole."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimllm_paper.render import (
    LATEX,
    Rendered,
    escape_latex,
    render,
    to_csv,
    to_latex,
    to_markdown,
)
from trimllm_paper.specification import Column

NASTY = r"a & b | 100% $x_1$ #2 {c} ~ ^ \d <e> *f* `g` [h] — é"
BLANK: dict[str, Any] = {
    **dict.fromkeys(("value", "low", "high", "deviation", "n", "printed", "verdict", "section")),
    **{"why": "", "sources": (), "details": {}, "table": "table2"},
}


def small_table(text: str = "plain") -> Rendered:
    """Two rows of ours, one of them not run, and one of the paper's alone."""
    tiny = {"block": "tiny", "block_label": text, "published_as": "LLaMA-7B", "is_paper": False}
    paper = {"block": "llama-13b", "block_label": "LLaMA-13B", "published_as": "LLaMA-13B"}
    full = tiny | {"row": "full_ft", "row_label": text}
    awq = tiny | {"row": "awq", "row_label": "AWQ", "section": text, "verdict": "not run"}
    paper |= {"row": "full_ft", "row_label": "Full-FT", "is_paper": True}
    measured = {"value": 78.0, "low": 71.8, "high": 83.2, "n": 200, "printed": 82.4, "why": text}
    size = {"value": 55.0, "low": 52.0, "high": 58.0, "printed": ">=50%", "details": {"bytes": 12}}
    seen = {"verdict": "seen on the stand-in", "sources": ("a.json",)}
    cells = [
        BLANK | full | {"column": "acc"} | measured | seen,
        BLANK | full | {"column": "size"} | size | seen,
        BLANK | awq | {"column": "acc", "printed": 41.5},
        BLANK | awq | {"column": "size"},
        BLANK | paper | {"column": "acc", "printed": 97.2},
        BLANK | paper | {"column": "size"},
    ]
    frame = pd.DataFrame(cells, dtype=object)
    frame = frame.astype(dict.fromkeys(("value", "low", "high", "deviation"), float))
    columns = (Column("acc", text), Column("size", "Size", "size", digits=0, unit="%"))
    return Rendered("table2", text, columns, frame, [text], [text], {"acc": text})


def markdown_rows(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[c.strip() for c in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


@pytest.mark.parametrize("form", [to_markdown, to_latex])
def test_every_cell_is_shown(form: Callable[[Rendered], str]) -> None:
    shown = form(small_table())
    for number in ("78.0", "82.4", "41.5", "97.2", "55", "not run", "71.8", "83.2", "52", "58"):
        assert number in shown
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
    assert re.findall(r"\\begin\{([^}]*)\}", text) == ["table*", "adjustbox", "tabular"]
    assert re.findall(r"\\end\{([^}]*)\}", text) == ["tabular", "adjustbox", "table*"]
    body = text.split(r"\toprule")[1].split(r"\bottomrule")[0]
    for line in body.strip().splitlines():
        if line.endswith(r"\\") and "multicolumn" not in line:
            assert len(re.findall(r"(?<!\\)&", line)) == 2


@pytest.mark.parametrize("text", ["plain", NASTY, 'line\nbreak, "quoted"'])
def test_csv_round_trip_through_pandas(text: str) -> None:
    table = small_table(text)
    frame = pd.read_csv(io.StringIO(to_csv(table)))
    assert len(frame) == len(table.cells)
    for line in frame.astype(object).where(frame.notna(), None).itertuples():
        cell = table.cell(line.block, line.row, line.column)
        for name in ("value", "low", "high", "n", "verdict"):
            assert getattr(line, name) == getattr(cell, name)
    assert frame.printed.tolist()[:3] == ["82.4", ">=50%", "41.5"]
    assert (frame.why[0], frame.sources[0], frame.bytes[1]) == (text, "a.json", 12)


def test_a_failed_rendering_leaves_the_old_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    render(small_table(), tmp_path / "table2")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    monkeypatch.setattr("trimllm_paper.render.to_latex", lambda table: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        render(small_table("changed"), tmp_path / "table2")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
