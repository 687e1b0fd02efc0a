"""`make verify`: whatever was changed, lost, or brought from elsewhere is named."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from runs import ROOT

EVALUATION = "eval/smollm2-135m/sciq/full_ft/mmlu_sciences.json"
CHECKPOINT = "models/smollm2-135m/sciq/full_ft/manifest.json"


def verify(folder: Path) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, str(ROOT / "workflow/lib/verify.py"), str(folder)]
    return subprocess.run(words, capture_output=True, text=True)


def test_the_committed_results_are_what_they_say() -> None:
    run = verify(ROOT / "results/reference")
    assert run.returncode == 0, run.stderr
    assert "none failed" in run.stdout and "0 evaluations" not in run.stdout


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A copy of the reference, as a run would leave it: without the manifest of the whole."""
    folder = tmp_path / "results"
    shutil.copytree(ROOT / "results/reference", folder)
    (folder / "manifest.json").unlink()
    # Its checkpoints are kept without their weights.
    for path in folder.rglob("manifest.json"):
        content = json.loads(path.read_text())
        content["files"] = {}
        for other in path.parent.glob("*.json"):
            if other != path:
                other.unlink()
        path.write_text(json.dumps(content))
    repair(folder)
    return folder


def repair(folder: Path) -> None:
    """Let evaluations name the checkpoints as they now are."""
    from trimllm import files

    for path in folder.glob("eval/**/*.json"):
        content = json.loads(path.read_text())
        recipe = path.parent.relative_to(folder / "eval")
        model, domain, *rest = recipe.parts
        base = "base" if rest == ["pretrained"] else domain
        manifest = folder / "models" / model / base / Path(*rest) / "manifest.json"
        # Checkpoints of epochs in between are gone.
        if manifest.is_file():
            content["provenance"]["manifest_sha256"] = files.sha256_of(manifest)
            files.write_json(path, files.sealed(content))


def edit(**changes: object) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        content = json.loads(path.read_text())
        path.write_text(json.dumps(content | changes))

    return change


def test_nothing_is_wrong_with_an_untouched_run(results: Path) -> None:
    run = verify(results)
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize(
    "file, change, words",
    [
        # Numbers that agree with each other and are not what was measured.
        (EVALUATION, edit(n=2, correct=[1, 1], acc=100.0), "was changed after it was written"),
        (EVALUATION, edit(seed=3), "was changed after it was written"),
        (EVALUATION, Path.unlink, ""),
        (EVALUATION, lambda path: path.write_text("{"), "is not JSON"),
        (CHECKPOINT, edit(provenance={}), "was made from another checkpoint"),
        (CHECKPOINT, edit(files={"a": {"bytes": 1, "sha256": ""}}), "is missing although"),
        (CHECKPOINT, lambda path: path.with_name("pickle.bin").touch(), "is not in the manifest"),
        ("data/sciq/report.json", edit(files={"train.jsonl": ""}), "was made from other documents"),
        (
            "data/sciq/report.json",
            lambda path: path.with_name("train.jsonl").touch(),
            "is not what",
        ),
    ],
)
def test_what_is_wrong_is_named(
    results: Path, file: str, change: Callable[[Path], None], words: str
) -> None:
    change(results / file)
    run = verify(results)
    assert (run.returncode != 0) == bool(words), run.stdout
    assert words in run.stderr and "Traceback" not in run.stderr


def test_an_evaluation_of_another_place_is_named(results: Path) -> None:
    shutil.copyfile(results / EVALUATION, results / EVALUATION.replace("full_ft", "sparse_ft"))
    run = verify(results)
    assert run.returncode != 0 and "says recipe 'full_ft' but lies under" in run.stderr
