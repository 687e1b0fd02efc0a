"""Table 7: accuracy and throughput of the same recipe in one row."""

from __future__ import annotations

import pytest
from evaluation_files import Evaluations
from table_building import COLUMNS, build
from timing_files import TimingFiles

from trimllm_paper.render import Table

CHAIN = "trim_paper/drop_30"
BLOCK = "cpu-mine/tiny"


@pytest.fixture
def table(evaluations: Evaluations, timings: TimingFiles) -> Table:
    for domain in COLUMNS:
        evaluations.add_domain(domain, stand_in="Stand-in set")
        evaluations.add("full_ft+awq_int4", 72, domain=domain, stand_in="Stand-in set")
        evaluations.add(f"{CHAIN}+awq_int4", 66, domain=domain, kept=30)
    where = {"model": "tiny", "total": 60}
    timings.add("full_ft", 10, full=None, kept=60, **where)
    timings.add("full_ft+awq_int4", 20, share=0.26, kept=60, **where)
    timings.add(CHAIN, 19, kept=30, share=0.5, **where)
    timings.add(f"{CHAIN}+awq_int4", 34, kept=30, share=0.13, **where)
    timings.add_machine()
    return build("table7", evaluations.paths, throughput=timings.paths)


def test_accuracy_and_throughput_of_the_same_recipe(table: Table) -> None:
    composed = {c: table.cell(BLOCK, "trimllm_awq_int4", c) for c in ("sciq", "speedup", "mem")}
    assert composed["sciq"].measured == 66 and composed["sciq"].published == 91.5
    assert composed["speedup"].measured == 3.4
    assert composed["speedup"].published == pytest.approx(188.7 / 42.3)
    assert composed["mem"].published == ">12.5%"
    assert table.cell(BLOCK, "trimllm_awq_int4", "unit_bytes").measured == pytest.approx(13)
    assert composed["sciq"].sources[0].endswith(f"{CHAIN}+awq_int4/sciq.json")
    assert composed["speedup"].sources[0].endswith(f"{CHAIN}+awq_int4.json")


def test_a_missing_half_leaves_the_other(table: Table) -> None:
    gptq = table.cell(BLOCK, "gptq_int4", "throughput")
    assert (gptq.measured, gptq.verdict) == (None, "not run")
    assert table.cell(BLOCK, "sparsegpt_2_4", "sciq").verdict == "not run"
    shape = table.cell("cpu-mine/random-llama-1b", "trimllm_awq_int4", "sciq")
    assert (shape.measured, shape.verdict, shape.published) == (None, None, None)
    assert table.cell("cpu-mine/random-llama-1b", "trimllm_awq_int4", "speedup").measured == 3.5
