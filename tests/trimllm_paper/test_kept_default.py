"""The kept runs: of the configurations that they are said to be of, and safe from `make clean`."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from configurations import ROOT, configuration

from trimllm.base.files import read_json
from trimllm_paper.commands import reference
from trimllm_paper.config.domain import read_by

KEPT = ROOT / "results/reference"
MADE_BY = {
    "reference": ["config"],
    "reference_larger": ["config", "overlays/reference_larger"],
    "reference_ablation": ["config", "overlays/ablation"],
    "reference_real": ["config", "real", "overlays/reference_real"],
    "reference_answers": ["config", "overlays/answers", "overlays/reference_answers"],
    "reference_timings": ["config", "overlays/timings"],
    "reference_qwen": ["qwen", "overlays/reference_qwen"],
}
"""Kept folder -> the files of config/ that it was made by, each on top of those before it."""


@pytest.mark.parametrize("name", sorted(path.name for path in KEPT.parent.glob("reference*")))
def test_a_kept_run_is_of_the_files_that_name_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    """So that it can be added to, and whoever runs these gets its recipes."""
    monkeypatch.setenv("TRIMLLM_DATA", str(tmp_path))
    (tmp_path / "sciq").mkdir()
    for split in ("train", "validation", "test"):
        (tmp_path / "sciq" / f"{split}.jsonl").touch()
    kept = KEPT.with_name(name)
    paths = [ROOT / "config" / f"{file}.yaml" for file in MADE_BY[name]]
    now = reference.configuration([], kept.relative_to(ROOT), paths)
    was = reference.resolved(kept / "config.yaml")
    assert reference.made_by(reference.portable(now)) == reference.made_by(was)
    other = []
    for file, text in reference.domain_files(now, [], paths).items():
        there, here = (yaml.safe_load(one) for one in ((kept / file).read_text("utf-8"), text))
        if read_by(there) != read_by(here):
            other.append(file)
    assert not other


def test_make_clean_leaves_them_and_takes_all_else(tmp_path: Path) -> None:
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8")
    kept = {*re.findall(r"^!results/(\w+)/$", ignored, re.MULTILINE)}
    assert kept == MADE_BY.keys()
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in (*kept, "models", "reference_real_run", "table.md"):
        (tmp_path / "results" / name).mkdir(parents=True)
    subprocess.run(["make", "clean"], cwd=tmp_path, check=True, capture_output=True)
    assert {path.name for path in (tmp_path / "results").iterdir()} == kept


def test_documents_are_as_many_and_as_long_as_the_domains_say() -> None:
    """With all answers in a scan, with the right one in training: plans count by all three."""
    for name, spec in configuration("config").domain_specs.items():
        if spec.train is None:
            continue
        report = read_json(KEPT / f"data/{name}/report.json")
        assert spec.expected.train == report["splits"]["train"]["documents"], name
        told = [read_json(path) for path in KEPT.rglob(f"{name}/trim_*/*/epoch.json")]
        for key, part in ((spec.expected.tokens, "scan"), (spec.expected.trained, "training")):
            ran = [one[part] for one in told if one[part]]
            mean = sum(one["tokens"] for one in ran) / sum(one["documents"] for one in ran)
            assert key == pytest.approx(mean, rel=0.04), (name, part)
