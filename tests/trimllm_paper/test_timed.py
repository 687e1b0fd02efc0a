"""What stands beside a speed: kernels, rows not in turn, and how far from its limit a row is."""

from __future__ import annotations

import io
from typing import Any

import pandas as pd
from table_building import build as build_table
from timing_files import TimingFiles

from trimllm.base import files
from trimllm.throughput.result import quartiles
from trimllm_paper.render import Table, to_csv

MINE = "cpu-mine/random-llama-1b"
KERNELS = {"onednn": 0.2, "native": 0.1}
OWN = {"device": "cpu", "linear_kernel_seconds": KERNELS}


def measured(timings: TimingFiles, recipe: str, rate: float, **changes: Any) -> None:
    """A measurement on a CPU, each by its own kernel, of which the full model's is native."""
    told = OWN | {"linear_kernel": "native"} | changes
    full = files.read_json(timings.add(recipe, rate, **told))["baseline"]
    chosen = {"linear_kernel": "native", "linear_kernel_seconds": KERNELS}
    timings.add(recipe, rate, **told, baseline=full | chosen)


def table(timings: TimingFiles, name: str = "table1") -> Table:
    return build_table(name, throughput=timings.paths, models=[], kept_percent=[50])


def labels(found: Table) -> dict[str, str]:
    (block,) = (block for block in found.blocks if block.key == MINE)
    return {line.key: line.label for line in block.rows}


def about(found: Table, words: str) -> list[str]:
    return [note for note in found.notes if words in note]


def test_a_row_names_the_kernel_that_it_was_timed_with(timings: TimingFiles) -> None:
    timings.add("full", 10, full=None, linear_kernel="native", **OWN)
    measured(timings, "full+llm_int8", 9, layers=["Linear8bitLt"], linear_kernel="onednn")
    measured(timings, "full+sparsegpt_2_4", 10)
    measured(timings, "trim_half/keep_50", 18, kept=22, dtype="float32")
    found = table(timings)
    named = labels(found)
    assert named["fp16"] == "16-bit: native"
    assert named["llm_int8"] == "LLM.int8(): Linear8bitLt, oneDNN"
    # A CPU multiplies the zeros of 2:4 as any others, and says so.
    assert named["sparsegpt"] == "SparseGPT (2:4): dense file, native"
    assert named["trimllm_50"] == "TrimLLM (50%)"  # there is no choice in float32
    assert named["gptq_int4"] == "GPTQ-int4"  # not run
    assert about(found, "no kernel of this machine skips them")
    assert not about(found, "measured with the linear kernel that suits the full model")
    frame = pd.read_csv(io.StringIO(to_csv(found)))
    line = frame[(frame.model == MINE) & (frame.column == "throughput")].set_index("row")
    kernels = line.loc["llm_int8", ["linear_kernel", "full_linear_kernel"]]
    assert [*kernels] == ["onednn", "native"]


def test_a_gpu_that_skips_the_zeros_holds_no_dense_file(timings: TimingFiles) -> None:
    packed = ["Linear of SparseSemiStructuredTensorCUTLASS"]
    timings.add("full+sparsegpt_2_4", 14, device="cuda", layers=packed, linear_kernel="onednn")
    assert labels(table(timings))["sparsegpt"] == f"SparseGPT (2:4): {packed[0]}"


def test_a_kernel_that_suits_the_full_model_is_told(timings: TimingFiles) -> None:
    timings.add("full+llm_int8", 3, linear_kernel="native", share_of_copy=0.11, **OWN)
    found = table(timings)
    (note,) = about(found, "(by an earlier version)")
    assert note.endswith("perhaps slower than need be: LLM.int8()")
    (note,) = about(found, "below a third of the copy bandwidth")
    assert "LLM.int8() 11% (suspect, timed with the linear kernel that suits the full" in note


def test_what_was_not_timed_in_turn_has_no_verdict(timings: TimingFiles) -> None:
    timings.add_machine()
    speeds = ("throughput", "speedup", "trim_over")
    before = table(timings)
    assert all(before.cell(MINE, "awq_int4", name).verdict for name in speeds[:2])
    assert "in turn with the full model, in fresh processes" in before.header[1]
    timings.add("full+awq_int4", 23, share=0.26, interleaved=False)
    timings.add("full+gptq_int4", 22, share=0.26, interleaved=True)
    found = table(timings)
    for name in speeds:
        cell = found.cell(MINE, "awq_int4", name)
        assert cell.verdict is None and cell.measured and "one after the other" in cell.why
    assert found.cell(MINE, "gptq_int4", "speedup").verdict == "seen on the stand-in"
    assert labels(found)["awq_int4"] == "AWQ-int4: not in turn"
    assert "in turn with the full model, but where a row says “not in turn”" in found.header[1]
    assert about(found, "memory did not hold both models")
    seven = table(timings, "table7")
    assert labels(seven)["awq_int4"] == "AWQ-int4: not in turn"
    assert seven.cell(MINE, "awq_int4", "speedup").verdict is None


def test_the_full_model_alone_is_in_turn_with_nobody(timings: TimingFiles) -> None:
    timings.add("full", 10, full=None, interleaved=False)
    assert labels(table(timings))["fp16"] == "16-bit"


def test_a_row_far_from_its_limit_has_a_reason_or_is_suspect(timings: TimingFiles) -> None:
    low = {"share_of_copy": 0.2, "share_of_matrix": 0.3}
    timings.add("full", 10, full=None, **OWN, **low, products_share=quartiles([0.5]))
    measured(timings, "full+llm_int8", 9, **low, products_share=quartiles([0.9]))
    measured(timings, "full+gptq_int4", 22, **low, products_share=quartiles([0.7]))
    measured(timings, "trim_half/keep_50", 18, kept=22, share_of_matrix=0.34)
    found = table(timings)
    (decode,) = about(found, "decode below a third of the copy bandwidth")
    # 20% of the bandwidth in half of the time: 40% of it while the layers work
    assert "16-bit 20% (the linear layers alone reach a third" in decode
    assert "LLM.int8() 20% (each product also rounds" in decode
    assert "GPTQ-int4 20% (suspect" in decode and "TrimLLM" not in decode
    (prefill,) = about(found, "prefill below a third of the matrix rate")
    assert "16-bit 30% (suspect" in prefill and "GPTQ-int4 30% (torch's int4" in prefill
    assert found.cell(MINE, "fp16", "share_of_matrix").measured == 30


def test_no_share_of_a_rate_that_nobody_measured(timings: TimingFiles) -> None:
    timings.add("full", 10, full=None)
    found = table(timings)
    assert "share_of_matrix" not in {column.key for column in found.columns}
    assert not about(found, "below a third")


def test_rows_beside_what_their_layers_alone_give(timings: TimingFiles) -> None:
    """A fifth of the full model's time lies between its layers, and half of that between those of
    half of the units: 1 / (0.1 + 0.82 / 1.8)."""
    rows = {"full+llm_int8": (9, 44, 0.79), "full+gptq_int4": (22, 44, 0.41)}
    for recipe, (rate, kept, share) in {**rows, "trim_half/keep_50": (18, 22, 0.82)}.items():
        full = files.read_json(timings.add(recipe, rate))["baseline"]
        layers = {"products_share": quartiles([share] * 3)}
        full |= {"products_share": quartiles([0.8] * 3)}
        timings.add(recipe, rate, kept=kept, **layers, baseline=full)
    found = table(timings)
    (each,) = about(found, "by the linear layers alone, timed in the same rounds")
    told = "LLM.int8() 0.90× / 0.93×, GPTQ-int4 2.20× / 2.59×, TrimLLM (50%) 1.80× / 1.80×"
    assert each.endswith(told)
    (far,) = about(found, "more than 10% from what the layers alone give")
    assert far.endswith(": GPTQ-int4")
