"""Bad input: one clear line that names the culprit, before anything heavy, results untouched."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from drivers import card, nvidia_smi
from runs import ROOT, ROWS

from trimllm_paper import gpus

Refused = Callable[..., str]
MODEL = "smollm2-135m"


@pytest.mark.parametrize(
    "config, words",
    [
        ({"trim": {"recipse": ["ours"]}}, "trim.recipse = unknown key; did you mean 'recipes'?"),
        ({"trim": {"drops_per_epoch": "3"}}, "trim.drops_per_epoch replaced by recipes.NAME.step"),
    ],
    ids=lambda value: " ".join(value.split()[:3]) if isinstance(value, str) else "",
)
def test_value(refused: Refused, config: dict[str, object], words: str) -> None:
    """Some of each kind; tests/trimllm_paper/config/test_load.py has every one."""
    given = {k: v if isinstance(v, str) else json.dumps(v) for k, v in config.items()}
    line = refused(**given)
    assert "--config" in line
    assert not [word for word in words.split() if word not in line], line


def test_a_value_of_the_default_names_its_file(refused: Refused) -> None:
    """And not the copy of it that Snakemake reads."""
    line = refused(configfile=None, recipes=json.dumps({"paper": {"step": "7"}}))
    assert f"{ROOT}/config/config.yaml: trim.kept_percent.0 = 50: not reachable" in line


def test_a_model_that_does_not_fit(refused: Refused) -> None:
    line = refused(models=json.dumps({MODEL: {"parameters": "13000000000"}}))
    assert f"models.{MODEL}.parameters = 13000000000: " in line and "MiB" in line


def test_a_shape_without_its_kernel(refused: Refused) -> None:
    """Before anything is trained; groups of 128 do not divide a width of 576."""
    timed = {"compressors": ["awq_int4"], "composed": [], "shapes": ["smollm2-135m"]}
    line = refused("table1", throughput=json.dumps(timed))
    assert "group size 128 does not divide smollm2-135m's hidden_size 576" in line


def test_a_checkpoint_past_the_end_of_its_chain(refused: Refused) -> None:
    """25% of 60 units are kept."""
    line = refused(f"results/models/{MODEL}/sciq/trim_paper/drop_60/manifest.json")
    assert "trim.kept_percent" in line and "end at 45" in line and "drop_60" in line


@pytest.mark.skipif(gpus.gpus_present() > 0, reason="this machine has a GPU")
def test_a_gpu_that_is_not_there(refused: Refused) -> None:
    assert 'compute.device = "cuda": this machine has no GPU' in refused(
        compute=json.dumps({"device": "cuda"})
    )


def test_a_driver_that_does_not_fit(refused: Refused, tmp_path_factory) -> None:
    """Asked before torch is, in whose words it would be a traceback out of the first job."""
    folder = tmp_path_factory.mktemp("driver")
    nvidia_smi(folder, card("Tesla K80"), driver="390.157", cuda="CUDA Version: 9.1")
    path = {"PATH": f"{folder}:{os.environ['PATH']}"}
    line = refused(compute=json.dumps({"device": "cuda"}), extra=path)
    assert 'compute.device = "cuda": torch ' in line and "390.157" in line and "install" in line


def test_the_file_is_named(refused: Refused, tmp_path: Path) -> None:
    config = yaml.safe_load((ROOT / "config/smoke.yaml").read_text())
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(config | {"trims": {"documents": 5}}))
    words = "trims = {\"documents\": 5}: unknown key; did you mean 'trim'?"
    assert f"{path}: {words}" in refused(configfile=path)


@pytest.fixture
def local_model(tmp_path: Path) -> Path:
    """A configuration whose model is the folder `model`."""
    config = yaml.safe_load((ROOT / "config/smoke.yaml").read_text())
    source = {"source": {"directory": "model"}}
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(config | {"models": {MODEL: config["models"][MODEL] | source}}))
    return path


def test_a_missing_model_directory(refused: Refused, local_model: Path) -> None:
    line = refused(configfile=local_model)
    assert f'{local_model}: models.{MODEL}.source.directory = "model": no checkpoint' in line


def prepare(refused: Refused, tmp_path: Path) -> str:
    return refused(
        "results/data/sums/report.json",
        domains='["sums"]',
        domains_folder=tmp_path / "domains",
    )


def test_a_missing_local_file(refused: Refused, sums: Callable[..., None], tmp_path: Path) -> None:
    sums(train=ROWS[:90], test=ROWS[160:])
    assert "calibration.jsonl, which does not exist" in prepare(refused, tmp_path)
