"""What stands beside a speed: kernels, rows not in turn, and how far from its limit a row is."""

from __future__ import annotations

from typing import Any

from table_building import build as build_table
from timing_files import TimingFiles

from trimllm.base import files
from trimllm_paper.render import Table

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
