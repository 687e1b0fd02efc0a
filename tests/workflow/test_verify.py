"""`make verify`: whatever was changed, lost, or brought from elsewhere is named."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from runs import ROOT

from trimllm.base import files

EVALUATION = "eval/smollm2-135m/sciq/full_ft/mmlu_sciences.json"
CHECKPOINT = "models/smollm2-135m/sciq/full_ft/manifest.json"
TRAINING = "models/smollm2-135m/sciq/full_ft/training.json"
CHAIN = "smollm2-135m/sciq/trim_both_r0.25_d3"
RECORDS = f"records/{CHAIN}.jsonl"
EPOCH = f"models/{CHAIN}/drop_03/epoch.json"
SCAN = "scans/smollm2-135m/sciq.json"


def verify(folder: Path) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, str(ROOT / "src/trimllm_paper/commands/verify.py"), str(folder)]
    return subprocess.run(words, capture_output=True, text=True)


def test_the_committed_results_are_what_they_say() -> None:
    run = verify(ROOT / "results/reference")
    assert run.returncode == 0, run.stderr
    assert "none failed" in run.stdout and not re.search(r"\b0 ", run.stdout), run.stdout


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
    for path in folder.glob("records/**/*.jsonl"):
        files.write_jsonl(path, map(files.sealed, files.read_jsonl(path)))
    # The record of an epoch whose checkpoint is gone.
    files.write_json(folder / EPOCH, files.read_jsonl(folder / RECORDS)[1])
    return folder


def repair(folder: Path) -> None:
    """Let evaluations name the checkpoints as they now are."""
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


def resealed(**changes: object) -> Callable[[Path], None]:
    """Another result, whole in itself."""

    def change(path: Path) -> None:
        files.write_json(path, files.sealed(files.read_json(path) | changes))

    return change


def unseal(path: Path) -> None:
    content = files.read_json(path)
    del content[files.SEAL]
    files.write_json(path, content)


def lines(change: Callable[[list[dict]], object]) -> Callable[[Path], None]:
    """Change the records of a chain."""

    def changed(path: Path) -> None:
        rows = files.read_jsonl(path)
        change(rows)
        files.write_jsonl(path, rows)

    return changed


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
        (EVALUATION, unseal, "has no seal, and no manifest names it"),
        (SCAN, edit(scan={}), "was changed after it was written"),
        (SCAN, unseal, "has no seal, and no manifest names it"),
        (RECORDS, lines(lambda rows: rows[2]["seconds"].update(train=1)), "was changed after"),
        (RECORDS, lines(lambda rows: rows[2].pop(files.SEAL)), "has no seal, and no manifest"),
        (RECORDS, lines(lambda rows: rows.pop()), "epochs of"),
        (RECORDS, lines(lambda rows: rows.reverse()), "its epochs are not 0, 1, 2"),
        (RECORDS, lambda path: path.write_text("{}"), "lacks what the record of an epoch holds"),
        (EPOCH, edit(units_dropped=[]), "was changed after it was written"),
        (EPOCH, unseal, "has no seal, and no manifest names it"),
        (EPOCH, resealed(units_dropped=[]), "trim_both_r0.25_d3.jsonl was not gathered from"),
        (EPOCH, lambda path: path.with_name("training.json").write_text("[]"), "has no seal"),
        (EPOCH, Path.unlink, ""),
        (TRAINING, lambda path: path.write_text("{}"), "has no seal, and no manifest"),
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


def test_a_kept_record_is_what_its_checkpoint_had(tmp_path: Path) -> None:
    """Kept anew with another record: the manifest of the checkpoint, kept too, knows better."""
    folder = tmp_path / "reference"
    shutil.copytree(ROOT / "results/reference", folder)
    content = files.read_json(folder / TRAINING)
    content["passes"][0]["seconds"] *= 0.5
    files.write_json(folder / TRAINING, files.sealed(content))
    files.write_manifest(folder)
    (line,) = verify(folder).stderr.splitlines()
    assert TRAINING in line and line.endswith(f"is not what {folder / CHECKPOINT} says")
