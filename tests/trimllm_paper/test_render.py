"""Every cell reaches every form, nothing breaks the form, and files appear whole."""

import io
import re
from collections.abc import Callable
from pathlib import Path

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
COLUMNS = "column value low high n printed verdict why sources details"


def small_table(text: str = "plain") -> Rendered:
    """Two rows of ours, one of them not run, and one of the paper's alone."""
    tiny = {"block": "tiny", "block_label": text, "published_as": "LLaMA-7B", "is_paper": False}
    full = tiny | {"row": "full_ft", "row_label": text, "section": None}
    awq = tiny | {"row": "awq", "row_label": "AWQ", "section": text}
    paper = {"block": "llama-13b", "block_label": "LLaMA-13B", "published_as": "LLaMA-13B"}
    paper |= {"row": "full_ft", "row_label": "Full-FT", "is_paper": True, "section": None}
    seen = "seen on the stand-in"
    cells = [
        (full, "acc", 78.0, 71.8, 83.2, 200, 82.4, seen, text, ("a.json",), {}),
        (full, "size", 55.0, 52.0, 58.0, None, ">=50%", seen, "", (), {"bytes": 12}),
        (awq, "acc", None, None, None, None, 41.5, "not run", "", (), {}),
        (awq, "size", None, None, None, None, None, "not run", "", (), {}),
        (paper, "acc", None, None, None, None, 97.2, None, "", (), {}),
        (paper, "size", None, None, None, None, None, None, "", (), {}),
    ]
    lines = [row | dict(zip(COLUMNS.split(), cell, strict=True)) for row, *cell in cells]
    frame = pd.DataFrame(lines, dtype=object).assign(table="table2", deviation=None)
    frame = frame.astype(dict.fromkeys(("value", "low", "high", "deviation"), float))
    columns = (Column("acc", text), Column("size", "Size", "size", digits=0, unit="%"))
    return Rendered("table2", text, columns, frame, [text], [text])


@pytest.mark.parametrize("form", [to_markdown, to_latex])
def test_every_cell_is_shown_and_measured_ones_never_beside_published_ones(
    form: Callable[[Rendered], str],
) -> None:
    shown = form(small_table())
    for number in ("78.0", "82.4", "41.5", "97.2", "55", "not run", "71.8", "83.2", "52", "58"):
        assert number in shown
    assert {to_latex: r"$\geq$50\%"}.get(form, "≥50%") in shown
    (line,) = (line for line in shown.splitlines() if "82.4" in line)
    assert "78.0" not in line and "paper, LLaMA-7B" in line


@pytest.mark.parametrize("text", [NASTY, "line\nbreak"])
def test_markdown_stays_a_table_whatever_the_text(text: str) -> None:
    lines = [x for x in to_markdown(small_table(text)).splitlines() if x.startswith("|")]
    rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines]
    assert len(rows) == 3 * 2 + 5  # heads and rules of three parts, and their lines
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
    parts = [part.split(r"\bottomrule")[0] for part in text.split(r"\toprule")[1:]]
    lines = [x for part in parts for x in part.strip().splitlines() if x != r"\midrule"]
    assert {len(re.findall(r"(?<!\\)&", line)) for line in lines} == {2}
    assert all(line.endswith(r" \\") for line in lines)


@pytest.mark.parametrize("text", ["plain", NASTY, 'line\nbreak, "quoted"'])
def test_csv_round_trip_through_pandas(text: str) -> None:
    table = small_table(text)
    frame = pd.read_csv(io.StringIO(to_csv(table)))
    for name in ("block", "row", "column", "value", "low", "high", "n", "verdict"):
        cells = zip(frame[name], table.cells[name], strict=True)
        assert all(one == other or pd.isna(one) and pd.isna(other) for one, other in cells)
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
