"""Evaluation files: found by their path, checked against themselves, pooled by documents."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from evaluation_files import Evaluations

from trimllm.base.errors import UserError
from trimllm.base.intervals import wilson
from trimllm_paper.measured import Results, read_measurement


def test_a_column_of_several_tasks_is_weighted_by_documents(evaluations: Evaluations) -> None:
    evaluations.add("full_ft", 80, task="a", n=300)
    evaluations.add("full_ft", 40, task="b", n=100)
    found = Results(evaluations.paths).accuracy("tiny", "sciq", "full_ft", ["a", "b"])
    assert found.percent == pytest.approx((300 * 80 + 100 * 40) / 400)
    assert (found.n, found.right) == (400, 280)
    assert found.ci95 == wilson(280, 400)
    assert found.chance == pytest.approx(25)
    assert [Path(source).name for source in found.sources] == ["a.json", "b.json"]


def test_a_column_with_a_missing_task_is_missing(evaluations: Evaluations) -> None:
    evaluations.add("full_ft", 80, task="a")
    results = Results(evaluations.paths)
    assert results.accuracy("tiny", "sciq", "full_ft", ["a", "b"]) is None
    assert results.accuracy("tiny", "piqa", "full_ft") is None
    assert results.accuracy("tiny", "sciq", "full_ft").n == 200


def test_differences_are_paired_only_on_the_same_documents(evaluations: Evaluations) -> None:
    evaluations.add("pretrained", 50)
    evaluations.add("full_ft", 75)
    evaluations.add("sparse_ft", 75, documents="others")
    results = Results(evaluations.paths)
    base, full, sparse = (
        results.accuracy("tiny", "sciq", recipe)
        for recipe in ("pretrained", "full_ft", "sparse_ft")
    )
    assert full.minus(base).paired and not sparse.minus(base).paired
    assert full.minus(base).points == sparse.minus(base).points == pytest.approx(25)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"acc": 80.0}, "not the mean"),
        ({"n": 3}, "`correct` is not a list"),
        ({"domain": "piqa"}, "says domain 'piqa' but lies under 'sciq'"),
        ({"recipe": "pretrained"}, "says recipe 'pretrained' but lies under 'full_ft'"),
    ],
)
def test_a_file_that_contradicts_itself_is_refused(
    evaluations: Evaluations, changes: dict[str, object], message: str
) -> None:
    path = evaluations.add("full_ft", 75)
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    with pytest.raises(UserError, match=message):
        read_measurement(path)


def test_a_file_outside_the_grammar_is_refused(tmp_path: Path) -> None:
    (tmp_path / "sciq.json").write_text("{}")
    with pytest.raises(UserError, match="eval/MODEL/DOMAIN/RECIPE/TASK"):
        read_measurement(tmp_path / "sciq.json")
    path = tmp_path / "eval" / "tiny" / "sciq" / "full_ft" / "sciq.json"
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    with pytest.raises(UserError, match="no evaluation"):
        read_measurement(path)


def test_two_measurements_of_the_same_are_refused(tmp_path: Path) -> None:
    one, two = Evaluations(tmp_path / "a"), Evaluations(tmp_path / "b")
    one.add("full_ft", 75)
    two.add("full_ft", 70)
    with pytest.raises(UserError, match="measure the same"):
        Results([*one.paths, *two.paths])


def test_a_kept_fraction_finds_its_checkpoint(evaluations: Evaluations) -> None:
    for dropped in (30, 36):
        evaluations.add(f"trim_both_r0.25_d6/drop_{dropped}", 60, kept=60 - dropped)
    results = Results(evaluations.paths)

    def recipe(kept: float, **run: float) -> str | None:
        return results.trimmed("tiny", "sciq", "both", kept, **run)

    assert recipe(50) == "trim_both_r0.25_d6/drop_30"
    assert recipe(40) == "trim_both_r0.25_d6/drop_36"
    assert recipe(41) == "trim_both_r0.25_d6/drop_36"  # 24.6 units: the next whole number
    assert recipe(45) is None  # nobody trimmed to 27 units
    assert recipe(30) is None  # one step away: another checkpoint, not this one
    assert recipe(50, ratio=0.5) is None
    assert recipe(50, drops_per_epoch=2) is None
    assert results.trimmed("tiny", "sciq", "likelihood", 50) is None


def test_several_runs_for_one_row_have_to_be_named(evaluations: Evaluations) -> None:
    evaluations.add("trim_both_r0.25_d6/drop_30", 60, kept=30)
    evaluations.add("trim_both_r0.5_d6/drop_30", 60, kept=30)
    results = Results(evaluations.paths)
    with pytest.raises(UserError, match="name the ratio"):
        results.trimmed("tiny", "sciq", "both", 50)
    found = results.trimmed("tiny", "sciq", "both", 50, ratio=0.5)
    assert found == "trim_both_r0.5_d6/drop_30"
