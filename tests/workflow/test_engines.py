"""Checkpoints of a run are exported, and timed in engines."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from exports import needs_llama_cpp
from runs import made

from trimllm.base.machine import this_machine
from trimllm_paper.records import Engines

pytestmark = [pytest.mark.slow, needs_llama_cpp]


def test_table_engines_of_a_finished_run(copy: Path) -> None:
    rounds = {"prompt": 16, "generate": 4, "repeats": 1, "batches": [1]}
    engines = json.dumps(rounds | {"formats": ["transformers", "gguf_f16"]})
    made(copy, "table_engines", configfile=copy / "config.yaml", engines=engines)
    folder = copy / "results/engines" / this_machine("cpu") / "tiny"
    for engine, format in (("transformers", "transformers"), ("llama_cpp", "gguf_f16")):
        found = Engines.read(folder / f"{engine}.json")
        assert found.interleaved and found.provenance["config_hash"] and found.domain == "lexglue"
        names = [(one["recipe"], one["format"], one["batch"]) for one in found.measured]
        assert names == [(recipe, format, 1) for recipe in ("full_ft", "trim_paper/drop_06")]
    assert found.measured[0]["proof"]["largest_difference"] < 0.05
    rows = list(csv.DictReader((copy / "results/tables/table_engines.csv").open()))
    assert any(row["column"] == "share_decode" and float(row["value"] or 0) > 0 for row in rows)
