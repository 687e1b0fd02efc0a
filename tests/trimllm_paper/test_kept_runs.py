"""Kept runs: every file of a run is read from one file of records, byte by byte as it was."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from configurations import KEPT, ROOT, configuration

from trimllm.base import files
from trimllm.base.errors import UserError
from trimllm_paper import kept_runs, recipe
from trimllm_paper.__main__ import main
from trimllm_paper.config import Config, load, read_yaml
from trimllm_paper.config.domain import read_by

MADE_BY = {"reference": ["config"], "reference_ablation": ["config", "overlays/ablation"]}
"""Kept folder -> the files of config/ that it was made by, each on top of those before it. The
others are made again by their own config.yaml."""
ELSEWHERE = ("results", "domains_folder", "mirror", "replicates", "compute.")
ELSEWHERE += ("throughput.repeats", "engines.repeats")
"""Keys that change no result."""
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
    """So that it can be added to, and whoever runs these gets its recipes."""
    kept, (file, *_) = KEPT.with_name(name), MADE_BY[name]
    now, was = configuration(*MADE_BY[name]), load(read_yaml(kept / "config.yaml"), [])
    assert made_by(now) == made_by(was), file
    for domain, spec in now.domain_specs.items():
        assert read_by(spec.raw) == read_by(was.domain_specs[domain].raw), domain


def made_by(config: Config) -> dict[str, Any]:
    """Key and value of all that changes results, of the recipes that are run."""
    content = config.model_dump(mode="json")
    content["recipes"] = {name: content["recipes"][name] for name in config.trim.recipes}
    keys = dict(recipe.keys_of(content))
    return {k: v for k, v in keys.items() if k == "compute.dtype" or not k.startswith(ELSEWHERE)}


def test_the_kept_results_are_verified(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(KEPT)]) == 0, capsys.readouterr().err
    shown = capsys.readouterr().out
    assert "none failed" in shown and not re.search(r"\b0 ", shown), shown


def test_make_clean_leaves_them_and_takes_all_else(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in ("models/m", "reference_again", "mine"):
        files.write_text(tmp_path / "results" / name / "x.json", "{}")
    kept_runs.write(tmp_path / "results/mine", RECORDS, "")
    subprocess.run(["make", "clean"], cwd=tmp_path, check=True, capture_output=True)
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["mine"]


def test_documents_are_as_many_and_as_long_as_the_domains_say() -> None:
    """With all answers in a scan, with the right one in training: plans count by all three."""
    for name, spec in configuration("config").domain_specs.items():
        if spec.train is None:
            continue
        report = kept_runs.read_json(KEPT / f"data/{name}/report.json")
        assert spec.expected.train == report["splits"]["train"]["documents"], name
        epochs = kept_runs.glob(KEPT, f"**/{name}/trim_*/*/epoch.json")
        told = [kept_runs.read_json(path) for path in epochs]
        for key, part in ((spec.expected.tokens, "scan"), (spec.expected.trained, "training")):
            ran = [one[part] for one in told if one[part]]
            mean = sum(one["tokens"] for one in ran) / sum(one["documents"] for one in ran)
            assert key == pytest.approx(mean, rel=0.04), (name, part)
