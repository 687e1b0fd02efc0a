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
from trimllm_paper.integrity import checks, lineage

CHAIN = "models/m/d/trim_paper"
KEPT = {
    "eval/m/d/full_ft/t.json",
    "throughput/box/m/full_ft.json",
    f"{CHAIN}/state_06/epoch.json",
    "models/m/d/full_ft/training.json",
    "models/m/d/full_ft/manifest.json",
}
"""What is kept of the run below."""
MORE = "eval/m/e/full_ft/t.json"
"""What a later part of the run adds."""


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


def test_a_long_run_is_kept_as_its_parts_end(
    kept: Path, tmp_path: Path, config: dict[str, Any]
) -> None:
    for content in ({"another": "domain"}, {"computed": "again"}):
        later = write(tmp_path / "later", MORE, content=content)
        assert reference.collect(later, kept, config, {}, add=True) == 6
        assert names(kept) == {*KEPT, MORE} and kept_runs.read_json(kept / MORE) == content
    # A key that came later was what its default is.
    earlier = yaml.safe_load((kept / "config.yaml").read_text())
    del earlier["engines"]
    kept_runs.write(kept, kept_runs.records_of(kept), yaml.safe_dump(earlier))
    # Neither what is expected of documents nor how jobs are run changes them.
    domain = {"domains/e.yaml": "# why\nlabel: one\nexpected: {tokens: 7}"}
    elsewhere = config | {"compute": config["compute"] | {"threads": 7}}
    reference.collect(later, kept, elsewhere, domain, add=True)
    assert "tokens: 7" in kept_runs.read_text(kept / "domains/e.yaml")
    assert reference.collect(later, kept, config | {"seed": 4}, {}) == 1


def test_parts_of_two_configurations_or_kinds_of_documents_are_no_run(
    kept: Path, tmp_path: Path, config: dict[str, Any]
) -> None:
    later = write(tmp_path / "later", MORE)
    changed = config | {"seed": 4, "finetune": config["finetune"] | {"clip": 2.5}}
    rounded = config | {"compute": config["compute"] | {"dtype": "float32"}}
    for other, domain, messages in (
        (config, "label: other", [r"of another configuration \(domains/e\.yaml\); leave"]),
        (rounded, "label: one", [r"compute\.dtype: auto there, float32 here"]),
        (changed, "label: one", [r"finetune\.clip: 1\.0 there, 2\.5 here", "seed: 3 there, 4"]),
    ):
        for message in messages:
            with pytest.raises(UserError, match=message):
                reference.collect(later, kept, other, {"domains/e.yaml": domain}, add=True)
    assert names(kept) == KEPT


def test_a_new_epoch_replaces_the_manifest_of_the_one_before(
    results: Path, tmp_path: Path, config: dict[str, Any]
) -> None:
    """The last epoch of a chain keeps its weights; in a longer one it does not."""
    kept = tmp_path / "kept"
    write(results, f"{CHAIN}/state_06/manifest.json", f"{CHAIN}/state_03/epoch.json")
    reference.collect(results, kept, config, {})
    later = write(tmp_path / "later", *(f"{CHAIN}/state_{n}/epoch.json" for n in ("06", "09")))
    reference.collect(later, kept, config, {}, add=True)
    assert names(kept) == {*KEPT, *(f"{CHAIN}/state_{n}/epoch.json" for n in ("03", "09"))}


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
    # A part under other seeds adds to them.
    later = write(tmp_path / "later", MORE, f"seed_1/{MORE}")
    assert reference.collect(later, kept, config, {}, add=True) == 5 + 3 + 2
    replicates = yaml.safe_load((kept / "config.yaml").read_text())["replicates"]
    assert replicates == [f"{kept}/seed_{seed}" for seed in (1, 2, 10)]


def test_parts_that_made_the_same_checkpoint_are_both_right(
    results: Path, tmp_path: Path, config: dict[str, Any]
) -> None:
    """The pretrained model is every domain's; a part on another machine fetched it again."""
    kept, name = tmp_path / "kept", "models/m/d/full_ft/manifest.json"
    hashes = []
    for number, weights in enumerate(("a", "a", "b")):
        # Records beside the weights say how they were made.
        named = {"model.safetensors": weights, "training.json": number}
        write(results, name, content={"files": named, "provenance": {}})
        hashes.append(files.sha256_of(results / name))
        reference.collect(results, kept, config, {}, add=True)
        checks.verify_reference(kept)
        known = {one for one in (*hashes, "0" * 64) if lineage.is_manifest_of(one, kept / name)}
        assert known == ({hashes[2]} if weights == "b" else set(hashes))


def test_an_empty_run_leaves_what_was_kept(kept: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds no results"):
        reference.collect(tmp_path / "empty", kept, {}, {})
    assert names(kept) == KEPT and not list(tmp_path.glob(".kept*"))
