"""Kept runs: every file of a run is read from one file of records, byte by byte as it was."""

import shutil
import subprocess
from itertools import product
from pathlib import Path

import pytest
from configurations import KEPT, ROOT, configuration

from trimllm.base import files
from trimllm.base.errors import UserError
from trimllm_paper import kept_runs
from trimllm_paper.__main__ import main
from trimllm_paper.config import load, read_yaml
from trimllm_paper.jobs import Jobs, measuring, training

MADE_BY = {"reference": ["config"], "reference_ablation": ["config", "overlays/ablation"]}
"""Kept folder -> the files of config/ that it was made by, each on top of those before it. The
others are made again by their own config.yaml."""
RECORDS = {
    "eval/m/d/full_ft/t.json": {"content": {"label": "½", "acc": 0.1 + 0.2}},
    "seed_1/eval/m/d/full_ft/t.json": {"content": {"acc": 1}},
    "domains/d.yaml": {"text": "label: ½\n"},
}


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    kept_runs.write(tmp_path / "kept", RECORDS, "seed: 0\n")
    return tmp_path / "kept"


def test_a_kept_run_unpacks_to_the_files_that_it_keeps(
    kept: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "results"
    files.write_text(results / "domains/d.yaml", "label: mine\n")
    assert main(["unpack", str(kept), str(results)]) == 0
    assert capsys.readouterr().out == f"2 files in {results}\n"
    assert (results / "domains/d.yaml").read_text() == "label: mine\n"
    for name in [*RECORDS][:2]:
        path, there = results / name, kept / name
        files.write_json(tmp_path / "written.json", RECORDS[name]["content"])
        assert path.read_bytes() == (tmp_path / "written.json").read_bytes()
        assert files.read_json(path) == kept_runs.read_json(there) == RECORDS[name]["content"]
        assert files.sha256_of(path) == kept_runs.sha256_of(there)
        assert kept_runs.read_text(there) == path.read_text(encoding="utf-8")


def test_files_of_a_kept_run_are_found_like_those_on_disk(kept: Path, tmp_path: Path) -> None:
    assert main(["unpack", str(kept), str(tmp_path / "results")]) == 0
    hidden = tmp_path / "results/eval/m/d/.full_ft.tmp-1/t.json"
    files.write_json(hidden, {})
    for pattern in ("eval/**/*.json", "*/*.yaml", "**/t.json", "seed_*/eval/**/*.json", "no/*"):
        on_disk, packed = (
            [path.relative_to(folder) for path in kept_runs.glob(folder, pattern)]
            for folder in (tmp_path / "results", kept)
        )
        assert on_disk == packed and bool(packed) == (pattern != "no/*")
    assert [path.name for path in kept_runs.glob(kept / "seed_1/eval", "**/*.json")] == ["t.json"]
    assert kept_runs.is_folder(kept / "seed_1") and not kept_runs.is_folder(kept / "seed")
    assert kept_runs.is_file(kept / "domains/d.yaml") and not kept_runs.is_file(kept / "domains")
    with pytest.raises(UserError, match="none.json does not exist"):
        kept_runs.read_json(kept / "eval/none.json")


def test_a_file_of_that_name_alone_is_no_kept_run(tmp_path: Path) -> None:
    """Somebody's own documents may be called so."""
    (tmp_path / "records.jsonl").write_text('{"question": "?"}\n')
    assert not kept_runs.is_kept(tmp_path)
    assert kept_runs.glob(tmp_path / "results", "eval/**/*.json") == []
    assert not kept_runs.is_file(tmp_path / "results/eval/t.json")


@pytest.mark.parametrize("name", MADE_BY)
def test_a_kept_run_is_of_the_files_that_name_it(name: str) -> None:
    """So that it can be continued, and whoever runs these has the same jobs."""
    was = load(read_yaml(KEPT.with_name(name) / "config.yaml"), [])
    runs = Jobs(configuration(*MADE_BY[name])), Jobs(was)
    (model,) = was.models
    for domain, recipe in product(was.domains, was.trim.recipes):
        place = {"model": model, "domain": domain}
        epoch = place | {"name": recipe, "drop": f"{was.recipes[recipe].step:02d}"}
        for kind, job in (
            (training.prepare, {"domain": domain}),
            (training.full_ft, place),
            (training.trim_epoch, epoch),
            (training.settle, epoch),
            (measuring.evaluate, place | {"recipe": "full_ft", "tested": domain}),
        ):
            now, before = (jobs.of(kind, **job).config_hash for jobs in runs)
            assert now == before, (kind.__name__, job)


def test_make_clean_leaves_them_and_takes_all_else(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in ("models/m", "reference_again", "mine"):
        files.write_text(tmp_path / "results" / name / "x.json", "{}")
    kept_runs.write(tmp_path / "results/mine", RECORDS, "")
    subprocess.run(["make", "clean"], cwd=tmp_path, check=True, capture_output=True)
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["mine"]
