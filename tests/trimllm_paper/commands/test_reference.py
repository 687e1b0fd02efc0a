"""Small results of a run are kept with the configuration that renders them again."""

from pathlib import Path

import pytest
import yaml

from trimllm.base import files
from trimllm.base.errors import UserError
from trimllm_paper import kept_runs
from trimllm_paper.commands import reference
from trimllm_paper.integrity import checks

CHAIN = "models/m/d/trim_paper"
KEPT = {
    "eval/m/d/full_ft/t.json",
    "throughput/box/m/full_ft.json",
    f"{CHAIN}/state_06/epoch.json",
    "models/m/d/full_ft/training.json",
    "models/m/d/full_ft/manifest.json",
    "models/m/d/trim_top/drop_30/training.json",
}
# Weights, a table, another run.
LEFT = ("models/m/d/full_ft/model.safetensors", "tables/table2.md", "smoke/eval/m/d/full_ft/t.json")
SEEDS = {
    "seed_2/eval/m/d/full_ft/t.json",
    f"seed_2/{CHAIN}/state_06/epoch.json",
    "seed_10/eval/m/d/full_ft/t.json",
}
# Of throughput the first seed is kept alone; these are no results of a seed.
LEFT_OF_SEEDS = (
    *("seed_2/throughput/box/m/full_ft.json", "seed_3/data/d/report.json"),
    "seed_x/eval/m/d/full_ft/t.json",
)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    for name in (*KEPT, *LEFT, *SEEDS, *LEFT_OF_SEEDS):
        files.write_json(tmp_path / "results" / name, {})
    return tmp_path / "results"


def test_what_is_kept(results: Path) -> None:
    kept = results / "reference"
    config, domains = reference.configuration(["seed=3"], kept)
    assert "label:" in domains["domains/sciq.yaml"]
    for _ in range(2):  # what was kept before is not collected again
        reference.collect(results, kept, config, {"domains/e.yaml": "label: one"})
    checks.verify_reference(kept)
    assert kept_runs.records_of(kept).keys() == KEPT | SEEDS | {"domains/e.yaml"}
    assert kept_runs.is_kept(kept) and not kept_runs.is_kept(results)
    written = yaml.safe_load((kept / "config.yaml").read_text())
    assert written["replicates"] == [f"{kept}/seed_{seed}" for seed in (2, 10)]
    assert written["seed"] == 3


def test_an_empty_run_leaves_what_was_kept(results: Path, tmp_path: Path) -> None:
    reference.collect(results, kept := tmp_path / "kept", {}, {})
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no results"):
        reference.collect(tmp_path / "empty", kept, {}, {})
    checks.verify_reference(kept)
    assert kept_runs.records_of(kept).keys() == KEPT | SEEDS and not list(tmp_path.glob(".kept*"))
