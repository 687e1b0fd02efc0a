"""Two runs, cell by cell: what is equal, what is noise, what differs, and how each was made."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from result_files import Evaluations

from trimllm_paper import invocation
from trimllm_paper.__main__ import main
from trimllm_paper.commands import reference


@pytest.fixture
def both(tmp_path: Path) -> tuple[Evaluations, Evaluations]:
    """Two runs: equal but for one recipe, which is a little worse in the second."""
    runs = Evaluations(tmp_path / "mine"), Evaluations(tmp_path / "theirs")
    for run, trimmed in zip(runs, (70, 69), strict=True):
        run.add("full_ft", 80)
        run.add("trim_paper/drop_30", trimmed, kept=30)
    return runs


def told(both: tuple[Evaluations, Evaluations], capsys: Any, *more: str) -> tuple[int, str, Any]:
    code = main(["compare", str(both[0].root), str(both[1].root), *more])
    out = capsys.readouterr().out
    return code, out, json.loads(out.splitlines()[-1])


def verdicts(found: Any) -> dict[str, str]:
    return {cell["recipe"]: cell["verdict"] for cell in found["cells"]}


def test_the_same_answers_are_equal_and_a_few_others_noise(
    both: tuple[Evaluations, Evaluations], capsys: pytest.CaptureFixture
) -> None:
    code, out, found = told(both, capsys)
    assert verdicts(found) == {"full_ft": "equal", "trim_paper/drop_30": "within noise"}
    assert code == 0 and "Made alike" in out and "2 cells in both: 1 equal, 1 within" in out
    (cell,) = (cell for cell in found["cells"] if cell["verdict"] != "equal")
    assert cell["paired"] and cell["n"] == 200 and cell["points"] == pytest.approx(1)
    assert cell["low"] < 0 < cell["high"]


@pytest.mark.parametrize(("seed", "right"), [(0, 69), (2, 72), (7, 69)])
def test_a_kept_run_of_several_seeds_is_compared_under_the_own_one(
    tmp_path: Path, capsys: pytest.CaptureFixture, seed: int, right: int
) -> None:
    mine, theirs = Evaluations(tmp_path / "mine"), Evaluations(tmp_path / "theirs")
    mine.add("trim_paper/drop_30", 70, kept=30, seed=seed)
    theirs.add("trim_paper/drop_30", 69, kept=30, seed=0)
    for other, percent in ((1, 71), (2, 72)):
        further = Evaluations(theirs.root / f"seed_{other}")
        further.add("trim_paper/drop_30", percent, kept=30, seed=other)
    _, _, found = told((mine, theirs), capsys)
    (cell,) = found["cells"]
    assert (cell["one"], cell["other"]) == (70, right) and cell["paired"]


@pytest.mark.parametrize("changes", [{"answer_loss": 4.0}, {"weight_bytes": 10**8}])
def test_the_same_answers_by_another_model_are_not_equal(
    both: tuple[Evaluations, Evaluations], capsys: pytest.CaptureFixture, changes: dict[str, Any]
) -> None:
    both[0].add("full_ft", 80, answer_loss=1.0)
    both[1].add("full_ft", 80, **({"answer_loss": 1.001} | changes))
    assert verdicts(told(both, capsys)[2])["full_ft"] == "within noise"
    both[1].add("full_ft", 80, answer_loss=1.001)  # what rounding does
    assert verdicts(told(both, capsys)[2])["full_ft"] == "equal"


@pytest.mark.parametrize(("unequal", "code"), [(1, 1), (3, 0)])
def test_one_cell_of_one_is_more_than_chance_and_one_of_three_is_not(
    tmp_path: Path, capsys: pytest.CaptureFixture, unequal: int, code: int
) -> None:
    runs = Evaluations(tmp_path / "mine"), Evaluations(tmp_path / "theirs")
    for number in range(unequal):
        runs[0].add("full_ft", 80, domain=f"of_{number}")
        runs[1].add("full_ft", 79 if number else 20, domain=f"of_{number}")
    assert told(runs, capsys)[0] == code


def test_a_difference_beyond_the_intervals_is_different_and_says_how_it_was_made(
    both: tuple[Evaluations, Evaluations], capsys: pytest.CaptureFixture
) -> None:
    provenance = {
        "config_hash": "other" * 8,
        "versions": {"torch": "2.14.0", "lm_eval": "0.4.13"},
        "hardware": {"cpu": "Another", "cores": 2, "threads": 1},
    }
    for recipe in ("full_ft", "trim_paper/drop_30"):
        kept = 60 if recipe == "full_ft" else 30
        both[1].add(recipe, 40, kept=kept, provenance=provenance)
    code, out, found = told(both, capsys)
    assert set(verdicts(found).values()) == {"different"} and code == 1
    assert "torch 2.13.0 | torch 2.14.0" in out and "lm_eval" not in out
    assert "cpu Another" in out and "config_hash: c0ffeec0ffee | otherotherot" in out
    assert "git_commit" in out  # the second has none


def test_keys_that_differ_are_named_with_both_values(
    both: tuple[Evaluations, Evaluations], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """The kept run's configuration lies beside it, the other's is what was given."""
    (tmp_path / "top.yaml").write_text("trim: {documents: 77}")
    kept = reference.configuration(["finetune={patience: 9}"], both[1].root)
    (both[1].root / "config.yaml").write_text(yaml.safe_dump(reference.portable(kept)))
    assert "documents" not in told(both, capsys)[1]  # of equal hashes nothing is told
    both[1].add("full_ft", 80, provenance={"config_hash": "other" * 8})
    files = ("--configfile", str(invocation.DEFAULT), str(tmp_path / "top.yaml"))
    out = told(both, capsys, *files)[1].splitlines()
    at = next(i for i, line in enumerate(out) if line.startswith("Keys of the configuration"))
    keys = [line.strip() for line in out[at + 1 :] if line.startswith("    ")]
    assert sorted(keys) == ["finetune.patience: 1 | 9", "trim.documents: 77 | 256"]
    # Against another kept run its own configuration counts, whatever is given.
    shutil.copy(both[1].root / "config.yaml", both[0].root)
    assert "trim.documents" not in told(both, capsys, *files)[1]


def test_nothing_in_common_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    runs = Evaluations(tmp_path / "mine"), Evaluations(tmp_path / "theirs")
    runs[0].add("full_ft", 80)
    runs[1].add("full_ft", 80, domain="piqa")
    assert main(["compare", *(str(run.root) for run in runs)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "hold no evaluation of the same model" in line
