"""Parts of a run made again: after a kill and signals, in two processes, and timed in engines."""

import csv
import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
from exports import needs_llama_cpp
from runs import beginning, complaint, job_of, made, snakemake, wait_for

from trimllm.base import files
from trimllm.base.machine import this_machine
from trimllm_paper import records

pytestmark = pytest.mark.slow
MODELS, EVAL = "results/models/tiny/lexglue", "results/eval/tiny/lexglue"


def weights(directory: Path, recipe: str) -> str:
    manifest = files.read_json(directory / MODELS / recipe / "manifest.json")
    return manifest["files"]["model.safetensors"]["sha256"]


def begun(copy: Path, *parts: str) -> dict[str, Any]:
    """Remove results, so that a run makes them again; its options."""
    for part in parts:
        shutil.rmtree(copy / part)
    return {"configfile": copy / "config.yaml"}


def test_a_killed_and_resumed_chain_has_the_same_bytes(copy: Path, finished: Path) -> None:
    """Everything is killed during an epoch; README's command goes on after `--unlock`."""
    options = begun(copy, f"{MODELS}/trim_paper", f"{EVAL}/trim_paper")
    chain, target = copy / MODELS / "trim_paper", f"{MODELS}/trim_paper/drop_06/manifest.json"
    with beginning(copy, target, **options) as (run, log):
        wait_for(lambda: (chain / "state_00/manifest.json").exists() or run.poll(), 300, log)
        job_of(run, "train.py", log)
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
    assert not (chain / "state_06/manifest.json").exists()
    locked = complaint(snakemake(copy, target, **options))
    assert "snakemake --unlock" in locked
    made(copy, "--unlock", **options)
    resumed = made(copy, target, **options)
    assert "00 sublayers dropped" not in resumed and "06 sublayers dropped" in resumed
    assert weights(copy, "trim_paper/drop_06") == weights(finished, "trim_paper/drop_06")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_waits_and_the_second_ends_jobs(copy: Path, number: int) -> None:
    """Signals to Snakemake alone; the same command then goes on."""
    options = begun(copy, f"{MODELS}/sparse_ft", f"{EVAL}/sparse_ft")
    target = f"{EVAL}/sparse_ft/sums.json"
    with beginning(copy, target, **options) as (run, log):
        job = job_of(run, "train.py", log)
        job.suspend()
        run.send_signal(number)
        wait_for(lambda: "Stopping: no further job starts" in log.read_text(), 60, log)
        if number == signal.SIGINT:
            run.send_signal(number)
        job.resume()
        assert run.wait(300) == 1
    is_done = (copy / MODELS / "sparse_ft/manifest.json").exists()
    assert is_done == (number == signal.SIGTERM) and not (copy / target).exists()
    if number == signal.SIGINT:
        made(copy, target, **options)


def test_two_processes_and_weights_on_disk_train_the_same(copy: Path, finished: Path) -> None:
    options = begun(copy, f"{MODELS}/sparse_ft", f"{EVAL}/sparse_ft")
    compute = json.dumps({"device": "cpu", "processes": 2, "weights_on": "disk"})
    text = made(copy, f"{MODELS}/sparse_ft/manifest.json", compute=compute, **options)
    assert "1 of 1 jobs done" in text
    found, alone = (
        records.Training.read(root / MODELS / "sparse_ft/training.json")
        for root in (copy, finished)
    )
    assert found.processes["count"] == 2 and alone.processes is None
    assert found.trainable_blocks == alone.trainable_blocks
    for one, other in zip(found.passes, alone.passes, strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=0.02)


@needs_llama_cpp
def test_table_engines_of_a_finished_run(copy: Path) -> None:
    rounds = {"prompt": 16, "generate": 4, "repeats": 1, "batches": [1]}
    engines = json.dumps(rounds | {"formats": ["transformers", "gguf_f16"]})
    made(copy, "table_engines", configfile=copy / "config.yaml", engines=engines)
    folder = copy / "results/engines" / this_machine("cpu") / "tiny"
    for engine, format in (("transformers", "transformers"), ("llama_cpp", "gguf_f16")):
        found = records.Engines.read(folder / f"{engine}.json")
        assert found.interleaved and found.provenance["config_hash"] and found.domain == "lexglue"
        names = [(one["recipe"], one["format"], one["batch"]) for one in found.measured]
        assert names == [(recipe, format, 1) for recipe in ("full_ft", "trim_paper/drop_06")]
    assert found.measured[0]["proof"]["largest_difference"] < 0.05
    rows = list(csv.DictReader((copy / "results/tables/table_engines.csv").open()))
    assert any(row["column"] == "share_decode" and float(row["value"] or 0) > 0 for row in rows)
