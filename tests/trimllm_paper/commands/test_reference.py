"""Small results of a run are kept with the configuration that renders them again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from trimllm.base import files
from trimllm.base.errors import UserError
from trimllm.base.files import read_json
from trimllm_paper.commands import reference
from trimllm_paper.config import is_reference
from trimllm_paper.integrity import checks, lineage

CHANGES = ['trim={"recipes": ["paper", "ours"]}', "seed=3"]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Results of a run: small ones, weights, rendered tables, a trial run inside."""
    written = {
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
    for name, text in written.items():
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
    assert is_reference(kept) and not is_reference(results)
    checks.verify_reference(kept)
    # Collecting again does not collect what was kept before.
    assert reference.collect(results, kept, config) == 5


def test_a_long_run_is_kept_as_its_parts_end(results: Path, tmp_path: Path) -> None:
    kept, config = tmp_path / "kept", reference.configuration(CHANGES, Path("results/reference"))
    reference.collect(results, kept, config)
    later = tmp_path / "later"
    (later / "eval/m/e/full_ft").mkdir(parents=True)
    (later / "eval/m/e/full_ft/t.json").write_text('{"another": "domain"}')
    assert reference.collect(later, kept, config, add=True) == 6
    checks.verify_reference(kept)
    assert (kept / "eval/m/e/full_ft/t.json").is_file()
    assert (kept / "models/m/d/full_ft/manifest.json").is_file()
    # The same again is no more; what was made anew takes the place of what was there.
    (later / "eval/m/e/full_ft/t.json").write_text('{"made": "anew"}')
    assert reference.collect(later, kept, config, add=True) == 6
    assert read_json(kept / "eval/m/e/full_ft/t.json") == {"made": "anew"}
    # A key that came later was what its default is.
    told = yaml.safe_load((kept / "config.yaml").read_text())
    del told["engines"]
    (kept / "config.yaml").write_text(yaml.safe_dump(told))
    files.write_manifest(kept)
    assert reference.collect(later, kept, config, add=True) == 6
    # Parts of two configurations, or of two kinds of documents, are no run.
    reference.collect(later, kept, config, {"domains/e.yaml": "label: one"}, add=True)
    with pytest.raises(UserError, match=r"of another configuration \(domains/e\.yaml\); leave"):
        reference.collect(later, kept, config, {"domains/e.yaml": "label: other"}, add=True)
    # What is expected of documents, and how jobs are run, makes nothing else.
    domain = {"domains/e.yaml": "# told\nlabel: one\nexpected: {tokens: 7}"}
    elsewhere = config | {"compute": config["compute"] | {"threads": 7}}
    reference.collect(later, kept, elsewhere, domain, add=True)
    assert "tokens: 7" in (kept / "domains/e.yaml").read_text()
    rounded = config | {"compute": config["compute"] | {"dtype": "float32"}}
    with pytest.raises(UserError, match=r"compute\.dtype: auto there, float32 here"):
        reference.collect(later, kept, rounded, add=True)
    told = config | {"seed": 4, "finetune": config["finetune"] | {"clip": 2.5}}
    with pytest.raises(UserError, match=r"finetune\.clip: 1\.0 there, 2\.5 here") as said:
        reference.collect(later, kept, told, add=True)
    assert "seed: 3 there, 4 here" in str(said.value) and "epochs" not in str(said.value)
    assert reference.collect(later, kept, config | {"seed": 4}) == 1


def test_an_epoch_that_is_made_anew_takes_the_manifest_of_the_one_before_along(
    results: Path, tmp_path: Path
) -> None:
    """The last epoch of a chain keeps its weights; in a longer one it does not."""
    kept, config = tmp_path / "kept", reference.configuration(CHANGES, Path("results/reference"))
    chain = "models/m/d/trim_paper"
    write(results, f"{chain}/state_06/manifest.json", f"{chain}/state_03/epoch.json")
    reference.collect(results, kept, config)
    later = tmp_path / "later"
    write(later, f"{chain}/state_06/epoch.json", f"{chain}/state_09/epoch.json")
    reference.collect(later, kept, config, add=True)
    checks.verify_reference(kept)
    made = sorted(path.relative_to(kept / chain).as_posix() for path in (kept / chain).glob("*/*"))
    assert made == [f"state_{number:02d}/epoch.json" for number in (3, 6, 9)]
    assert (kept / "models/m/d/full_ft/manifest.json").is_file()


def write(results: Path, *names: str) -> None:
    for name in names:
        (results / name).parent.mkdir(parents=True, exist_ok=True)
        (results / name).write_text("{}")


def test_what_other_seeds_made_is_kept_and_named(results: Path, tmp_path: Path) -> None:
    write(results, "seed_2/eval/m/d/full_ft/t.json", "seed_10/eval/m/d/full_ft/t.json")
    write(results, "seed_2/throughput/box/m/full_ft.json", "seed_2/data/d/report.json")
    write(results, "seed_2/models/m/d/trim_paper/state_06/epoch.json")
    write(results, "seed_3/data/d/report.json", "seed_x/eval/m/d/full_ft/t.json")
    kept, config = tmp_path / "kept", reference.configuration(CHANGES, tmp_path / "kept")
    assert reference.collect(results, kept, config) == 5 + 4
    checks.verify_reference(kept)
    told = yaml.safe_load((kept / "config.yaml").read_text())
    assert told["replicates"] == [f"{kept}/seed_2", f"{kept}/seed_10"]
    names = {name for name in read_json(kept / "manifest.json")["files"] if "seed_" in name}
    # Of throughput and engines the first seed is shown alone.
    assert names == {
        "seed_2/eval/m/d/full_ft/t.json",
        "seed_2/data/d/report.json",
        "seed_2/models/m/d/trim_paper/state_06/epoch.json",
        "seed_10/eval/m/d/full_ft/t.json",
    }
    # A part under other seeds adds to them.
    later = tmp_path / "later"
    write(later, "eval/m/e/full_ft/t.json", "seed_1/eval/m/e/full_ft/t.json")
    assert reference.collect(later, kept, config, add=True) == 5 + 4 + 2
    told = yaml.safe_load((kept / "config.yaml").read_text())
    assert told["replicates"] == [f"{kept}/seed_{seed}" for seed in (1, 2, 10)]
    with pytest.raises(UserError, match="keeps results of another configuration"):
        reference.collect(later, kept, config | {"seed": 4}, add=True)


def test_parts_that_made_the_same_checkpoint_are_both_right(results: Path, tmp_path: Path) -> None:
    """The pretrained model is every domain's; a part on another machine fetched it anew."""
    kept, config = tmp_path / "kept", reference.configuration(CHANGES, Path("results/reference"))
    manifest = results / "models/m/d/full_ft/manifest.json"
    hashes = []
    for number, weights in enumerate(("a", "a", "b")):
        # Records beside the weights say how they were made.
        said = {"files": {"model.safetensors": weights, "training.json": number}, "provenance": {}}
        manifest.write_text(json.dumps(said))
        hashes.append(files.sha256_of(manifest))
        reference.collect(results, kept, config, add=True)
        checks.verify_reference(kept)
        kept_one = kept / "models/m/d/full_ft/manifest.json"
        known = {one for one in (*hashes, "0" * 64) if lineage.is_manifest_of(one, kept_one)}
        assert known == ({hashes[2]} if weights == "b" else set(hashes))


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
