"""Table E: what was measured in engines, what was not, and drafts."""

from __future__ import annotations

from pathlib import Path

import pytest
from engine_files import write_engine
from evaluation_files import rewrite
from table_building import build

from trimllm.base.errors import UserError
from trimllm.base.files import read_json
from trimllm_paper.engine_records import Engines
from trimllm_paper.frames import Frame, rows, where
from trimllm_paper.render import Table, to_csv, to_markdown
from trimllm_paper.verdict import NOT_RUN

BLOCK = "cpu-mine/tiny"
FORMATS = {
    "engine_formats": ["transformers", "awq_int4", "gptq_int4", "gguf_q8_0", "vllm"],
    "engine_batches": [1, 8],
    "engine_drafts": True,
}


def table(tmp_path: Path) -> Table:
    """transformers and llama.cpp were measured, at 50% and 30%; vLLM was not."""
    paths = [
        write_engine(tmp_path, {"transformers": {50: 1.4, 30: 2.0}}, batches=(1, 8)),
        write_engine(tmp_path, {"gguf_q8_0": {50: 1.6, 30: 2.2}}, batches=(1, 8), drafts=False),
    ]
    return build("table_engines", engines=paths, **FORMATS)


def test_rows_are_formats_batches_and_kept_fractions(tmp_path: Path) -> None:
    made = table(tmp_path)
    (block,) = made.blocks
    assert block.label == "Tiny-135M, cpu-mine"
    # Of what was not compressed there is no row; drafts are those of formats that lose nothing.
    formats = ("transformers", "awq_int4", "gguf_q8_0", "vllm")
    rows = ("full", "trimllm_50", "trimllm_40", "trimllm_30")
    assert [row.key for row in block.rows] == [
        *(f"{one}_{batch}_{row}" for one in formats for batch in (1, 8) for row in rows),
        *(f"transformers_draft_{kept}" for kept in (50, 40, 30)),
    ]


def test_a_share_is_of_the_same_format_and_batch(tmp_path: Path) -> None:
    made = table(tmp_path)
    # 60 units of 40 kB and 0.6 MB beside: half of them are 1.8 of 3 MB.
    for format, gain in (("transformers", 1.4), ("gguf_q8_0", 1.6)):
        for batch in (1, 8):
            row = f"{format}_{batch}_trimllm_50"
            assert made.cell(BLOCK, row, "speedup").measured == pytest.approx(gain)
            share = made.cell(BLOCK, row, "share_decode").measured
            assert share == pytest.approx(100 * gain * 1.8 / 3)
            assert made.cell(BLOCK, row, "decode").measured == pytest.approx(8 * batch * gain)
            share = made.cell(BLOCK, row, "share_prefill").measured
            assert share == pytest.approx(100 * gain / 2)
    assert made.cell(BLOCK, "gguf_q8_0_1_trimllm_50", "parity").measured == 0.004
    assert made.cell(BLOCK, "transformers_1_full", "speedup").measured == 1


def test_what_was_not_measured_is_not_run(tmp_path: Path) -> None:
    made = table(tmp_path)
    for row in ("vllm_1_full", "vllm_8_trimllm_50", "gguf_q8_0_1_trimllm_40"):
        for cell in (made.cell(BLOCK, row, column.key) for column in made.columns):
            assert (cell.measured, cell.verdict) == (None, NOT_RUN)
    assert "`make vllm-env`" in " ".join(made.notes)


def test_a_draft_has_answers_and_nothing_else(tmp_path: Path) -> None:
    made = table(tmp_path)
    row = "transformers_draft_50"
    cell = made.cell(BLOCK, row, "answer")
    assert cell.measured == 1.3 and cell.spread == pytest.approx((1.25, 1.35))
    assert made.cell(BLOCK, row, "accepted").measured == 75
    for column in ("decode", "speedup", "share_decode", "prefill", "parity"):
        assert made.cell(BLOCK, row, column).measured is None


def test_a_row_says_how_it_was_measured(tmp_path: Path) -> None:
    made = table(tmp_path)
    sections = {row.key: row.section for row in made.blocks[0].rows}
    told = "llama.cpp, q8_0 (8 bits), batch 8: gguf_q8_0 1.0, 16 bits, cpu, 2 threads, fast"
    assert sections["gguf_q8_0_8_trimllm_50"] == told
    assert sections["vllm_1_full"] == "vLLM, batch 1"
    text, csv = to_markdown(made), to_csv(made)
    assert told in text.replace("\n  ", " ") and "24 prompt and 8 generated tokens" in text
    assert "kernel" in csv.splitlines()[0] and "Table E" in to_markdown(made)


def test_nothing_measured_is_a_table_all_the_same() -> None:
    made = build("table_engines", **FORMATS)
    assert made.blocks == () and "Nothing has been measured yet" in made.notes


def test_a_frame_has_a_row_a_format_batch_and_draft(tmp_path: Path) -> None:
    path = write_engine(tmp_path, {"transformers": {50: 1.4}, "llm_int8": {50: 1.2}})
    found = Frame.of(engines=[path]).engines
    assert len(found) == 2 * (2 + 1) and set(found.engine) == {"transformers"}
    (one,) = rows(where(found, format="llm_int8", draft=False, base="trim"))
    assert (one.name, one.kept_percent, one.bytes_percent) == ("paper", 50, pytest.approx(60))
    assert one.decode_low < one.decode < one.decode_high


def test_a_record_is_checked(tmp_path: Path) -> None:
    path = write_engine(tmp_path, {"transformers": {50: 1.4}})
    assert Engines.read(path).engine == "transformers"
    drafts = read_json(path)["drafts"]
    rewrite(path, drafts=[drafts[0] | {"draft": "trim_paper/drop_40"}])
    with pytest.raises(UserError, match="drop_40 drafts in transformers and was not measured"):
        Engines.read(path)
    elsewhere = tmp_path / "engines/cpu-mine/tiny/vllm.json"
    path.rename(elsewhere)
    rewrite(elsewhere, drafts=drafts)
    with pytest.raises(UserError, match="says engine 'transformers' but lies under 'vllm'"):
        Engines.read(elsewhere)
