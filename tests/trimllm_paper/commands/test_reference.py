"""Small results of a run are kept with the configuration that renders them again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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
}
"""What is kept of the run below."""


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A run: small results, weights, a record without its checkpoint, a table, another run."""
    more = "models/m/d/full_ft/model.safetensors", "models/m/d/trim_top/drop_30/training.json"
    return write(
        tmp_path / "results", *KEPT, *more, "tables/table2.md", "smoke/eval/m/d/full_ft/t.json"
    )


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    changes = ['trim={"recipes": ["paper", "ours"]}', "seed=3"]
    return reference.configuration(changes, Path("results/reference"))


@pytest.fixture
def kept(results: Path, tmp_path: Path, config: dict[str, Any]) -> Path:
    reference.collect(results, tmp_path / "kept", config, {"domains/e.yaml": "label: one"})
    return tmp_path / "kept"


def write(results: Path, *names: str, content: object = None) -> Path:
    for name in names:
        files.write_json(results / name, content or {})
    return results


def names(kept: Path) -> set[str]:
    checks.verify_reference(kept)
    return {name for name in kept_runs.records_of(kept) if not name.startswith("domains/")}


def test_what_is_kept(results: Path, config: dict[str, Any]) -> None:
    # Collecting again does not collect what was kept before.
    for _ in range(2):
        assert reference.collect(results, results / "reference", config, {}) == 5
    assert names(results / "reference") == KEPT
    assert kept_runs.is_kept(results / "reference") and not kept_runs.is_kept(results)


def test_results_of_other_seeds_are_kept_and_named(
    results: Path, tmp_path: Path, config: dict[str, Any]
) -> None:
    # Of throughput and engines the first seed is shown alone.
    seeds = {
        "seed_2/eval/m/d/full_ft/t.json",
        f"seed_2/{CHAIN}/state_06/epoch.json",
        "seed_10/eval/m/d/full_ft/t.json",
    }
    write(results, *seeds, "seed_2/throughput/box/m/full_ft.json")
    write(results, "seed_3/data/d/report.json", "seed_x/eval/m/d/full_ft/t.json")
    kept = tmp_path / "kept"
    reference.collect(results, kept, config, {})
    assert names(kept) == KEPT | seeds
    replicates = yaml.safe_load((kept / "config.yaml").read_text())["replicates"]
    assert replicates == [f"{kept}/seed_{seed}" for seed in (2, 10)]


def test_an_empty_run_leaves_what_was_kept(kept: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no results"):
        reference.collect(tmp_path / "empty", kept, {}, {})
    assert names(kept) == KEPT and not list(tmp_path.glob(".kept*"))
