"""Table 1 from files of results/throughput: ours beside the paper's, and never in its place."""

from __future__ import annotations

import pytest
from table_building import build as build_table
from timing_files import TimingFiles

from trimllm.throughput.result import summary
from trimllm_paper.render import Table, to_markdown

MINE = "cpu-mine/random-llama-1b"


@pytest.fixture
def table(timings: TimingFiles) -> Table:
    timings.add_machine()
    return build(timings)


def build(timings: TimingFiles) -> Table:
    return build_table("table1", throughput=timings.paths, models=[], kept_percent=[50])


def test_cells_walk_back_to_their_files(table: Table) -> None:
    cell = table.cell(MINE, "trimllm_40", "throughput")
    assert (cell.measured, cell.published) == (22, 103.1)
    assert cell.sources == (cell.sources[0],) and cell.sources[0].endswith("trim_half/keep_40.json")
    speedup = table.cell(MINE, "trimllm_40", "speedup")
    assert speedup.measured == 2.2 and speedup.published == pytest.approx(103.1 / 42.3)
    # Student's t of five rounds: 2.78 * 1.58% / sqrt(5).
    assert speedup.spread == pytest.approx((2.2 * 0.9805, 2.2 * 1.0197), abs=0.002)
    assert table.cell(MINE, "trimllm_50_awq_int4", "unit_bytes").measured == pytest.approx(13)


def test_trimmed_over_every_baseline_with_the_papers_beside(table: Table) -> None:
    for row, rate, paper in (("fp16", 10, 42.3), ("llm_int8", 5, 29.6), ("awq_int4", 23, 115.3)):
        cell = table.cell(MINE, row, "trim_over")
        assert cell.measured == pytest.approx(22 / rate)
        assert cell.published == pytest.approx(103.1 / paper)
    # The paper's A100 has AWQ ahead of TrimLLM; so have we.
    assert table.cell(MINE, "awq_int4", "trim_over").verdict == "seen on the stand-in"
    assert "2.1 to 5.7" in to_markdown(table)


def test_trimmed_over_a_baseline_is_decided_by_the_intervals_of_both(timings: TimingFiles) -> None:
    timings.add_machine()
    timings.add("full+gptq_int4", 22, share=0.26, spread=0.1)
    timings.add("full+awq_int4", 21, share=0.26, spread=0.1)
    table = build(timings)
    cell = table.cell(MINE, "gptq_int4", "trim_over")
    # The paper's TrimLLM is 2.2 times as fast; ours between 0.90 and 1.11 times.
    assert cell.measured == 1 and cell.verdict == "undecided"
    assert cell.spread == pytest.approx((0.90, 1.11), abs=0.02)
    assert table.cell(MINE, "awq_int4", "trim_over").verdict == "undecided"
    assert table.cell(MINE, "llm_int8", "trim_over").verdict == "seen on the stand-in"


def test_memory_is_judged_of_what_was_compressed_alone(table: Table) -> None:
    """That a row keeps 40% of the units, or all of them, was asked for."""
    for row, judged in (("fp16", False), ("trimllm_40", False), ("awq_int4", True)):
        cell = table.cell(MINE, row, "mem")
        assert cell.measured is not None and bool(cell.verdict) == judged


def test_a_row_of_the_papers_own_hardware_is_judged_by_its_number(timings: TimingFiles) -> None:
    model = "random-llama-7b"
    timings.add("full", 40, full=None, hardware="a100", model=model)
    timings.add("full+awq_int4", 60, full=40, hardware="a100", model=model)
    timings.add("full", 90, full=None, hardware="h100", model=model)
    table = build(timings)
    own = table.cell(f"a100/{model}", "fp16", "throughput")
    assert (own.verdict, own.published) == ("reproduced", 42.3)
    assert table.cell(f"a100/{model}", "awq_int4", "throughput").verdict == "not reproduced"
    assert table.cell(f"h100/{model}", "fp16", "throughput").verdict is None
    keys = [block.key for block in table.blocks]
    assert keys == [f"a100/{model}", f"h100/{model}", "V100", "RTX3090"]
    assert [block.is_paper for block in table.blocks] == [True, False, True, True]


def test_compiled_speeds_have_columns_where_they_were_measured(timings: TimingFiles) -> None:
    timings.add_machine()
    names = {column.key for column in build(timings).columns}
    assert not names & {"compiled", "compiled_speedup"}
    failed = {"error": "no compiler"}
    pair = {"decode_tokens_per_second": summary([60.0, 66.0, 72.0]), "speedup": summary([1.6])}
    timings.add("full", 10, full=None, compiled={"decode_tokens_per_second": summary([41.0])})
    timings.add("trim_half/keep_50", 18.5, kept=22, share=0.5, compiled=pair)
    timings.add("full+awq_int4", 23, share=0.26, compiled=failed)
    table = build(timings)
    cells = {row: table.cell(MINE, row, "compiled") for row in ("fp16", "trimllm_50", "awq_int4")}
    assert [cell.measured for cell in cells.values()] == [41, 66, None]
    assert (
        cells["trimllm_50"].spread == pytest.approx((52, 83), abs=1)
        and cells["awq_int4"].why == "no compiler"
    )
    assert table.cell(MINE, "llm_int8", "compiled").measured is None
    over = [table.cell(MINE, row, "compiled_speedup").measured for row in cells]
    assert over == [1, 1.6, None]
    text = to_markdown(table)
    assert "66.00 (5" in text
    assert table.cell("A100", "awq_int4", "compiled").published is None
