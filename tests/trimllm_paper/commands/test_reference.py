"""Small results of a run are kept with the configuration that renders them again."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from configurations import ROOT

from trimllm.base.errors import UserError
from trimllm.base.files import read_json
from trimllm_paper.commands import reference
from trimllm_paper.integrity import checks

CHANGES = ['trim={"recipes": ["paper", "ours"]}', "seed=3"]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Results of a run: small ones, weights, rendered tables, a trial run inside."""
    files = {
        "eval/m/d/full_ft/t.json": "{}",
        "throughput/box/m/full_ft.json": "{}",
        "models/m/d/trim_paper/state_06/epoch.json": "{}",
        "models/m/d/full_ft/training.json": "{}",
        "models/m/d/full_ft/manifest.json": "{}",
        "models/m/d/full_ft/model.safetensors": "weights",
        "models/m/d/trim_top/drop_30/training.json": "{}",
        "tables/table2.md": "rendered",
        "smoke/eval/m/d/full_ft/t.json": "{}",
    }
    for name, text in files.items():
        path = tmp_path / "results" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "results"


def test_what_is_kept(results: Path) -> None:
    kept = results / "reference"
    config = reference.configuration(CHANGES, Path("results/reference"))
    assert reference.collect(results, kept, config) == 5
    names = set(read_json(kept / "manifest.json")["files"])
    assert names == {
        "config.yaml",
        "eval/m/d/full_ft/t.json",
        "throughput/box/m/full_ft.json",
        "models/m/d/trim_paper/state_06/epoch.json",
        "models/m/d/full_ft/training.json",
        "models/m/d/full_ft/manifest.json",
    }
    assert checks.is_reference(kept) and not checks.is_reference(results)
    checks.verify_reference(kept)
    # Collecting again does not collect what was kept before.
    assert reference.collect(results, kept, config) == 5


def test_the_configuration_is_the_runs_own(results: Path) -> None:
    kept = results / "reference"
    reference.collect(results, kept, reference.configuration(CHANGES, Path("results/reference")))
    config = yaml.safe_load((kept / "config.yaml").read_text())
    default = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    assert config["trim"]["recipes"] == ["paper", "ours"] and config["seed"] == 3
    assert config["recipes"] == default["recipes"]
    assert config["results"] == "results/reference"


@pytest.mark.parametrize(
    "change, complaint",
    [("trim={documents: 0}", "trim.documents"), ("trimm={}", "trimm")],
)
def test_a_wrong_change_is_refused(change: str, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        reference.configuration([change], Path("results/reference"))


def test_nothing_to_keep_leaves_the_old(results: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    reference.collect(results, kept, {})
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no results"):
        reference.collect(tmp_path / "empty", kept, {})
    checks.verify_reference(kept)
    assert not list(tmp_path.glob(".kept*"))


def test_a_change_is_found(results: Path) -> None:
    kept = results / "reference"
    reference.collect(results, kept, {})
    (kept / "eval/m/d/full_ft/t.json").write_text('{"acc": 99}')
    with pytest.raises(UserError, match="make reference"):
        checks.verify_reference(kept)
