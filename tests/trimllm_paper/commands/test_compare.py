"""Two runs, cell by cell: what is equal, what is noise, what differs, and how each was made."""

from pathlib import Path
from typing import Any

import pytest
from result_files import Evaluations

from trimllm_paper.__main__ import main
from trimllm_paper.commands.compare import cells_of, runs_of

Runs = tuple[Evaluations, Evaluations]


@pytest.fixture
def both(tmp_path: Path) -> Runs:
    """Two runs: equal except for one recipe, which is a little worse in the second."""
    runs = Evaluations(tmp_path / "mine"), Evaluations(tmp_path / "theirs")
    for run, trimmed in zip(runs, (70, 69), strict=True):
        run.add("full_ft", 80)
        run.add("trim_paper/drop_30", trimmed, kept=30)
    return runs


@pytest.fixture
def compare(capsys: pytest.CaptureFixture) -> Any:
    """Exit status, printed text, and the cells of a comparison by recipe."""

    def run(runs: Runs) -> tuple[int, str, dict[str, Any]]:
        folders = [run.root for run in runs]
        code = main(["compare", *map(str, folders)])
        cells = cells_of(runs_of(*folders)[1])
        return code, capsys.readouterr().out, {cell["recipe"]: cell for cell in cells}

    return run


def test_the_same_answers_are_equal_and_a_few_others_noise(both: Runs, compare: Any) -> None:
    code, out, cells = compare(both)
    assert code == 0 and "Made alike" in out and "2 cells in both: 1 equal, 1 within" in out
    assert cells["full_ft"]["verdict"] == "equal"
    cell = cells["trim_paper/drop_30"]
    assert cell["verdict"] == "within noise" and cell["paired"] and cell["n"] == 200
    assert cell["points"] == pytest.approx(1) and cell["low"] < 0 < cell["high"]


@pytest.mark.parametrize(("seed", "right"), [(0, 69), (2, 72), (7, 69)])
def test_a_kept_run_of_several_seeds_is_compared_under_the_own_one(
    tmp_path: Path, compare: Any, seed: int, right: int
) -> None:
    mine, theirs = Evaluations(tmp_path / "mine"), Evaluations(tmp_path / "theirs")
    mine.add("trim_paper/drop_30", 70, kept=30, seed=seed)
    theirs.add("trim_paper/drop_30", 69, kept=30, seed=0)
    for other, percent in ((1, 71), (2, 72)):
        further = Evaluations(theirs.root / f"seed_{other}")
        further.add("trim_paper/drop_30", percent, kept=30, seed=other)
    (cell,) = compare((mine, theirs))[2].values()
    assert (cell["one"], cell["other"]) == (70, right) and cell["paired"]


@pytest.mark.parametrize(
    "changes, verdict",
    [
        ({"answer_loss": 4.0}, "within noise"),
        ({"weight_bytes": 10**8}, "within noise"),
        ({"answer_loss": 1.001}, "equal"),  # rounding
    ],
)
def test_the_same_answers_by_another_model_are_not_equal(
    both: Runs, compare: Any, changes: dict[str, Any], verdict: str
) -> None:
    both[0].add("full_ft", 80, answer_loss=1.0)
    both[1].add("full_ft", 80, **({"answer_loss": 1.0} | changes))
    assert compare(both)[2]["full_ft"]["verdict"] == verdict


@pytest.mark.parametrize(("unequal", "code"), [(1, 1), (3, 0)])
def test_one_cell_of_one_is_more_than_chance_and_one_of_three_is_not(
    tmp_path: Path, compare: Any, unequal: int, code: int
) -> None:
    runs = Evaluations(tmp_path / "mine"), Evaluations(tmp_path / "theirs")
    for number in range(unequal):
        runs[0].add("full_ft", 80, domain=f"of_{number}")
        runs[1].add("full_ft", 79 if number else 20, domain=f"of_{number}")
    assert compare(runs)[0] == code


def test_a_difference_beyond_the_intervals_is_different_and_says_how_it_was_made(
    both: Runs, compare: Any
) -> None:
    provenance = {
        "config_hash": "other" * 8,
        "versions": {"torch": "2.14.0", "lm_eval": "0.4.13"},
        "hardware": {"cpu": "Another", "cores": 2, "threads": 1},
    }
    for recipe, kept in (("full_ft", 60), ("trim_paper/drop_30", 30)):
        both[1].add(recipe, 40, kept=kept, provenance=provenance)
    code, out, cells = compare(both)
    assert {cell["verdict"] for cell in cells.values()} == {"different"} and code == 1
    assert "versions.torch: 2.13.0 | 2.14.0" in out and "lm_eval" not in out
    assert "| Another" in out and "config_hash: c0ffeec0ffee | otherotherot" in out
    assert "git_commit" in out  # the second has none
