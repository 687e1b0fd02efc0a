"""Jobs whose model is trained by several processes, or streamed, through the workflow."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from runs import MODEL, snakemake

from trimllm.base import files
from trimllm_paper import records

pytestmark = pytest.mark.slow


def test_two_processes_fine_tune_the_real_model(smoke: Path, tmp_path: Path) -> None:
    for part in ("results/data", "results/scans", f"{MODEL}/base"):
        shutil.copytree(smoke / part, tmp_path / part)
    folder = f"{MODEL}/sciq/sparse_ft"
    compute = json.dumps({"processes": 2, "weights_on": "disk"})
    run = snakemake(tmp_path, f"{folder}/manifest.json", compute=compute)
    assert run.returncode == 0, run.stderr[-4000:]
    # On what jobs run is no reason to make anything again: the rest is taken as it is.
    assert "scan" not in run.stderr and "Done: 1 jobs" in run.stderr
    manifest = files.verify_manifest(tmp_path / folder)
    assert manifest["provenance"]["rule"] == "sparse_ft"
    found, alone = (
        records.Training.read(root / folder / "training.json") for root in (tmp_path, smoke)
    )
    assert found.processes and found.processes["count"] == 2 and alone.processes is None
    assert found.trainable_blocks == alone.trainable_blocks
    for one, other in zip(found.passes, alone.passes, strict=True):
        assert one.loss == pytest.approx(other.loss, rel=0.02)
        assert one.tokens == other.tokens
    log = next((tmp_path / "logs").rglob("sparse_ft/**/*.log")).read_text()
    # what processes print is in the job's log, and progress only once
    assert log.count("epoch 1/1:   0%|") == 1
