"""Table 1 of a tiny shape for real: fresh processes, one file a cell, other machines beside it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from runs import snakemake
from timing_files import TimingFiles

from trimllm.throughput.machine import this_machine

TIMED = json.dumps({"checkpoints": "false"})
DEVICE = json.dumps({"device": "cpu"})


@pytest.mark.slow
def test_table1_of_a_shape_and_of_another_machine(tmp_path: Path) -> None:
    TimingFiles(tmp_path / "results").add_machine(hardware="h100", model="random-llama-7b")
    run = snakemake(tmp_path, "table1", throughput=TIMED, compute=DEVICE)
    assert run.returncode == 0, run.stderr[-4000:]
    here = this_machine("cpu")
    folder = tmp_path / "results/throughput" / here / "random-llama-tiny"
    made = {path.relative_to(folder).as_posix() for path in folder.rglob("*.json")}
    trimmed = "trim_half/keep_50"
    assert made == {
        *("full.json", "full+sparsegpt_2_4.json"),
        *(f"{trimmed}.json", f"{trimmed}+sparsegpt_2_4.json"),
    }
    found = json.loads((folder / f"{trimmed}.json").read_text())
    assert found["units_kept"] == 4 and found["baseline"]["units_kept"] == 8
    assert found["provenance"]["config_hash"] and found["pattern"].startswith("half: 50%")
    rows = list(csv.DictReader((tmp_path / "results/tables/table1.csv").open(encoding="utf-8")))
    speeds = {
        (row["block"], row["row"]): float(row["value"])
        for row in rows
        if row["column"] == "throughput" and row["value"]
    }
    rate = found["decode_tokens_per_second"]["median"]
    assert speeds[f"{here}/random-llama-tiny", "trimllm_50"] == rate
    assert speeds["h100/random-llama-7b", "awq_int4"] == 23
    again = snakemake(tmp_path, "table1", throughput=TIMED, compute=DEVICE)
    assert "Nothing to be done" in again.stdout + again.stderr
