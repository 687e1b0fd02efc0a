"""Whatever was changed, lost, or brought from elsewhere is named: `make verify`."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from configurations import ROOT

from trimllm.base import files
from trimllm_paper import kept_runs
from trimllm_paper.__main__ import main
from trimllm_paper.integrity import checks
from trimllm_paper.recipe import Paths, place_of
from trimllm_paper.records import sealed

KEPT = ROOT / "results/reference"
(TASK,) = kept_runs.read_json(KEPT / "data/sciq/report.json")["tests"]
EVALUATION = f"eval/smollm2-135m/sciq/full_ft/{TASK}.json"
CHECKPOINT = "models/smollm2-135m/sciq/full_ft/manifest.json"
TRAINING = "models/smollm2-135m/sciq/full_ft/training.json"
EPOCH = "models/smollm2-135m/sciq/trim_paper/state_06/epoch.json"
SCAN = "scans/smollm2-135m/sciq.json"
REPORT = "data/sciq/report.json"
TIMED = "throughput/cpu-amd-epyc/smollm2-135m/full_ft.json"


def test_the_kept_results_are_what_they_say(capsys: pytest.CaptureFixture) -> None:
    status = main(["verify", str(KEPT)])
    shown = capsys.readouterr()
    assert status == 0, shown.err
    assert "none failed" in shown.out and not re.search(r"\b0 ", shown.out), shown.out


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A domain of the reference, as a run would leave it: without the manifest of the whole."""
    folder = tmp_path_factory.mktemp("untouched") / "results"
    records = kept_runs.records_of(KEPT)
    parts = re.compile("(eval|models)/[^/]+/sciq/|models/[^/]+/base/|data/sciq/|throughput/")
    for name in (SCAN, *filter(parts.match, records)):
        files.write_json(folder / name, records[name]["content"])
    # Its checkpoints are kept without their weights.
    for path in folder.rglob("manifest.json"):
        content = json.loads(path.read_text())
        content["files"] = {}
        for other in path.parent.glob("*.json"):
            if other != path:
                name = {"bytes": other.stat().st_size, "sha256": files.sha256_of(other)}
                content["files"][other.name] = name
        path.write_text(json.dumps(content))
    # Let evaluations name the checkpoints as they now are.
    for path in folder.glob("eval/**/*.json"):
        content, place = json.loads(path.read_text()), place_of(path)
        results = Paths(place.results)
        manifest = Path(results.manifest(place.model, place.domain, place.recipe))
        # Checkpoints of epochs in between are gone.
        if manifest.is_file():
            content["provenance"]["manifest_sha256"] = files.sha256_of(manifest)
            files.write_json(path, sealed(content))
    return folder


@pytest.fixture
def results(untouched: Path, tmp_path: Path) -> Path:
    return shutil.copytree(untouched, tmp_path / "results")


def edit(**changes: object) -> Callable[[Path], None]:
    """Numbers that were changed by hand."""
    return lambda path: path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def resealed(**changes: object) -> Callable[[Path], None]:
    """Another result, whole in itself."""
    return lambda path: files.write_json(path, sealed(files.read_json(path) | changes))


def beside(name: str, text: str) -> Callable[[Path], None]:
    return lambda path: path.with_name(name).write_text(text)


def test_nothing_is_wrong_with_an_untouched_run(untouched: Path) -> None:
    counts, problems = checks.verify(untouched)
    assert problems == [] and all(counts[kind] for kind in checks.CHECKS)


@pytest.mark.parametrize(
    "file, change, words",
    [
        # Numbers that agree with each other and are not what was measured.
        (EVALUATION, edit(n=2, correct=[1, 1], acc=100.0), "was changed after it was written"),
        (EVALUATION, resealed(task="other"), f"says task 'other' but lies under '{TASK}'"),
        (EVALUATION, resealed(provenance={"seed": 0}), "was made from another checkpoint"),
        (EVALUATION, Path.unlink, ""),
        (EVALUATION, lambda path: path.write_text("{"), "is not JSON"),
        (SCAN, edit(content_sha256=None), "was changed after it was written"),
        (TIMED, edit(label="another"), "was changed after it was written"),
        (EPOCH, beside("training.json", "[]"), "json was made by another version"),
        (EPOCH, lambda path: path.write_text("{}"), "made by another version"),
        (TRAINING, resealed(units_left=2), "training.json was changed after it was written"),
        (CHECKPOINT, edit(provenance={}), "was made from another checkpoint"),
        (CHECKPOINT, edit(files={"a": {"bytes": 1, "sha256": ""}}), "/a is missing; "),
        (CHECKPOINT, beside("pickle.bin", ""), "is not in the manifest"),
        (REPORT, edit(files={"train.jsonl": ""}), "was made from other documents"),
        (REPORT, beside("train.jsonl", ""), "is not what"),
    ],
)
def test_what_is_wrong_is_named(
    results: Path, file: str, change: Callable[[Path], None], words: str
) -> None:
    change(results / file)
    _, problems = checks.verify(results)
    assert bool(problems) == bool(words), problems
    assert words in "\n".join(problems) and all("\n" not in line for line in problems)
