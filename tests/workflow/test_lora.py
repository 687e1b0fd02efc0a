"""Models that one GPU of 24 GB does not fine-tune fully: LoRA, and chains of an eighth."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from runs import ROOT, counts, snakemake

from trimllm import load as load_model
from trimllm_paper import invocation
from trimllm_paper.config import load, read_yaml
from trimllm_paper.records import Epoch, Training

SIZES = {"3b": "openllama-3b", "7b": "llama-7b"}


def file_of(size: str, folder: Path) -> Path:
    """config/one_gpu.yaml and the overlay for larger models as one file."""
    files = [ROOT / "config/one_gpu.yaml"]
    files += [ROOT / f"config/overlays/one_gpu_{size}.yaml"] if size in SIZES else []
    whole = invocation.configuration(files)
    whole["models"] = {name: entry for name, entry in whole["models"].items() if entry}
    path = folder / f"one_gpu_{size}.yaml"
    path.write_text(yaml.safe_dump(whole))
    return path


@pytest.mark.parametrize("size", SIZES)
def test_one_gpu_of_24_gb_needs_no_other(tmp_path: Path, size: str) -> None:
    """Both recipes on the real data, and every job on the GPU that it names."""
    file = file_of(size, tmp_path)
    run = snakemake(tmp_path, "-n", "table2", configfile=file, downloads="downloads")
    assert run.returncode == 0, run.stderr
    jobs, said = counts(run.stdout + run.stderr), run.stdout + run.stderr
    config = load(read_yaml(file), [file])
    (model,) = config.models.values()
    epochs = {52: 19, 64: 23}[model.units]
    assert jobs["trim_epoch"] == 5 * 2 * epochs and jobs["full_ft"] == jobs["teach"] == 5
    assert "compress" not in jobs and "all blocks by LoRA" in said


def test_a_model_that_nobody_has_pinned_is_not_fetched(
    refused: Callable[..., str], tmp_path: Path
) -> None:
    models = json.dumps({"openllama-3b": {"source": {"revision": "null"}}})
    line = refused("-n", "table2", configfile=file_of("3b", tmp_path), models=models)
    assert "source.revision" in line and "pin a commit of" in line


@pytest.mark.slow
@pytest.mark.parametrize("size", ["1b", pytest.param("3b", marks=pytest.mark.long), "7b"])
def test_its_first_epochs_with_a_shortened_model(
    project: dict[str, Any], tmp_path: Path, size: str
) -> None:
    """All its keys but the model, the data, how much of it, and where and in which type it runs."""
    path, file = project["configfile"], file_of(size, tmp_path)
    short, told = yaml.safe_load(path.read_text()), read_yaml(file)
    told |= {key: short[key] for key in ("domains_folder", "domains")}
    (name,), lora = told["models"], told["finetune"].get("lora")
    told["models"] = {name: short["models"]["tiny"] | {"learning_rate": 1e-3}}
    told["trim"] |= {"kept_percent": [60], "calibration_documents": 4, "documents": 16}
    told["tables"] = {}
    told["finetune"] |= {"epochs": 2, "documents": 16, "held_back_documents": 8}
    told["compute"] |= {"device": "cpu", "dtype": "float32", "threads": 1}
    path.write_text(yaml.safe_dump(told))
    models = tmp_path / f"results/models/{name}"
    epoch = f"results/models/{name}/sums/trim_ours/state_02/epoch.json"
    run = snakemake(tmp_path, epoch, configfile=path)
    assert run.returncode == 0, run.stderr[-4000:]
    tuned = Training.read(models / "sums/full_ft/training.json")
    assert tuned.lora == (lora and {"rank": 16, "alpha": 32.0}) and bool(lora) == (size != "1b")
    assert tuned.settings["learning_rate"] == (2e-4 if lora else 1e-3)
    assert tuned.trainable_blocks is None and len(tuned.held_back) == len(tuned.passes)
    assert tuned.passes[0].trainable_parameters < tuned.parameters  # the embeddings rest
    trained = Epoch.read(tmp_path / epoch)
    assert len(trained.units_dropped) == 2 and trained.settings["learning_rate"] == 1e-3
    assert trained.settings["optimizer"] == "adamw_8bit" and trained.settings["kl"] == 0.7
    blocks = told["models"][name]["blocks"]
    assert len(trained.trainable_blocks) == (1 if lora else blocks)
    # What the chain began with, and its teacher, is an ordinary checkpoint.
    before, _ = load_model(models / "base/pretrained", dtype="auto")
    after, _ = load_model(models / "sums/full_ft", dtype="auto")
    assert before.state_dict().keys() == after.state_dict().keys()
