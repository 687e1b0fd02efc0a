"""Table E of a tiny model for real: trained, trimmed, exported, timed in turn, and the claim."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from exports import byte_tokenizer, needs_llama_cpp
from models import tiny
from runs import ROOT, counts, snakemake

import trimllm
from trimllm.throughput.machine import this_machine
from trimllm_paper.engine_records import Engines

HERE = this_machine("cpu")


@needs_llama_cpp
def test_what_the_default_would_run(tmp_path: Path) -> None:
    run = snakemake(
        *(tmp_path, "-n", "table_engines"),
        configfile=ROOT / "config/config.yaml",
        engines=json.dumps({"formats": ["transformers", "awq_int4", "gguf_q4_0", "gguf_f16"]}),
    )
    assert run.returncode == 0, run.stderr
    jobs = counts(run.stdout + run.stderr)
    # Full-FT and three of the main chain, in two files each and compressed once.
    assert (jobs["engines"], jobs["export"], jobs["compress"]) == (2, 4 * 2, 4)
    assert jobs["full_ft"] == 1 and "measure" not in jobs


@pytest.mark.slow
@needs_llama_cpp
def test_table_engines_of_a_tiny_model(tmp_path: Path, project: dict[str, Any]) -> None:
    config = yaml.safe_load(project["configfile"].read_text())
    model = tiny("llama", vocab_size=340, max_position_embeddings=256)
    trimllm.save(model, byte_tokenizer(), tmp_path / "bytes")
    config["models"]["tiny"] |= {
        "source": {"directory": str(tmp_path / "bytes")},
        "parameters": sum(one.numel() for one in model.parameters()),
        "storage_dtype": "float32",
    }
    config["recipes"] = {"paper": {"criterion": "both", "step": 4, "settle": 0}}
    config["finetune"] |= {"documents": 8}
    config["trim"] |= {"documents": 8}
    config["compute"]["processes"] = 1
    rounds = {"prompt": 16, "generate": 4, "repeats": 1, "batches": [1, 2]}
    config["engines"] = rounds | {"formats": ["transformers", "gguf_f16"]}
    config["throughput"] |= {"dtype": "float32", "threads": 1}
    project["configfile"].write_text(yaml.safe_dump(config))
    run = snakemake(tmp_path, "table_engines", **project)
    assert run.returncode == 0, run.stderr[-4000:]
    folder = tmp_path / "results/engines" / HERE / "tiny"
    for engine, format in (("transformers", "transformers"), ("llama_cpp", "gguf_f16")):
        found = Engines.read(folder / f"{engine}.json")
        assert found.interleaved and found.provenance["config_hash"] and found.domain == "sums"
        names = [(one.recipe, one.format, one.batch) for one in found.measured]
        recipes = ("full_ft", "trim_paper/drop_04")
        assert names == [(recipe, format, batch) for batch in (1, 2) for recipe in recipes]
    assert found.measured[0].proof["largest_difference"] < 0.05
    rows = list(csv.DictReader((tmp_path / "results/tables/table_engines.csv").open()))
    shown = {(r["row"], r["column"]): r["value"] for r in rows}
    assert float(shown["gguf_f16_2_trimllm_60", "share_decode"]) > 0
    again = snakemake(tmp_path, "table_engines", **project)
    assert "Nothing to be done" in again.stdout + again.stderr
