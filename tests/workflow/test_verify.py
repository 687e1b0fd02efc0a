"""Whatever was changed, lost, or brought from elsewhere is named: `make verify`."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from trimllm.base import files
from trimllm_paper.integrity import checks
from trimllm_paper.records import sealed

pytestmark = pytest.mark.slow
MODELS = "models/tiny/lexglue"
EVALUATION = "eval/tiny/lexglue/full_ft/sums.json"
CHECKPOINT = f"{MODELS}/full_ft/manifest.json"
TRAINING = f"{MODELS}/full_ft/training.json"
EPOCH = f"{MODELS}/trim_paper/state_06/epoch.json"
SCAN = "scans/tiny/lexglue.json"
REPORT = "data/lexglue/report.json"
TIMED = "throughput/*/tiny/full_ft.json"


def edit(**changes: object) -> Callable[[Path], None]:
    """Numbers that were changed by hand."""
    return lambda path: path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def resealed(**changes: object) -> Callable[[Path], None]:
    """Another result, whole in itself."""
    return lambda path: files.write_json(path, sealed(files.read_json(path) | changes))


def beside(name: str, text: str) -> Callable[[Path], None]:
    return lambda path: path.with_name(name).write_text(text)


def test_nothing_is_wrong_with_an_untouched_run(finished: Path) -> None:
    counts, problems = checks.verify(finished / "results")
    assert problems == [] and all(counts[kind] for kind in checks.CHECKS)


@pytest.mark.parametrize(
    "file, change, words",
    [
        # Numbers that agree with each other and are not what was measured.
        (EVALUATION, edit(n=2, correct=[1, 1], acc=100.0), "was changed after it was written"),
        (EVALUATION, resealed(task="other"), "says task 'other' but lies under 'sums'"),
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
    finished: Path, tmp_path: Path, file: str, change: Callable[[Path], None], words: str
) -> None:
    results = shutil.copytree(finished / "results", tmp_path / "results")
    (path,) = results.glob(file)
    change(path)
    _, problems = checks.verify(results)
    assert bool(problems) == bool(words), problems
    assert words in "\n".join(problems) and all("\n" not in line for line in problems)
