"""Table E: what was measured in engines, and what was not."""

from __future__ import annotations

from pathlib import Path

import pytest
from engine_files import write_engine
from table_building import build

from trimllm.base.errors import UserError
from trimllm_paper.engine_records import Engines
from trimllm_paper.render import Table
from trimllm_paper.verdict import NOT_RUN

BLOCK = "cpu-mine/tiny"
FORMATS = {
    "engine_formats": ["transformers", "awq_int4", "gptq_int4", "gguf_q8_0", "vllm"],
    "engine_batches": [1, 8],
}


def table(tmp_path: Path) -> Table:
    """transformers and llama.cpp were measured, at 50% and 30%; vLLM was not."""
    paths = [
        write_engine(tmp_path, {"transformers": {50: 1.4, 30: 2.0}}, batches=(1, 8)),
        write_engine(tmp_path, {"gguf_q8_0": {50: 1.6, 30: 2.2}}, batches=(1, 8)),
    ]
    return build("table_engines", engines=paths, **FORMATS)


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


def test_a_record_is_checked(tmp_path: Path) -> None:
    path = write_engine(tmp_path, {"transformers": {50: 1.4}})
    assert Engines.read(path).engine == "transformers"
    elsewhere = tmp_path / "engines/cpu-mine/tiny/vllm.json"
    path.rename(elsewhere)
    with pytest.raises(UserError, match="says engine 'transformers' but lies under 'vllm'"):
        Engines.read(elsewhere)
