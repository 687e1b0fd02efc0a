"""Frames: all results in rows, on the kept results and on made-up ones."""

import doctest
from pathlib import Path

import pytest
from result_files import Evaluations, TimingFiles, plain_chain, write_chain

from trimllm.base.errors import UserError
from trimllm_paper import frames as room
from trimllm_paper import kept_runs
from trimllm_paper.frames import COLUMNS, Frame, frame, rows, tier_note, where
from trimllm_paper.recipe import seed_folders

ROOT = Path(__file__).parents[2]


def test_the_example_of_the_docstring(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    failed, tried = doctest.testmod(room)
    assert tried and not failed


def test_all_kept_results_are_read() -> None:
    folder = ROOT / "results/reference"
    found = frame(folder, seed_folders(folder))
    kept = kept_runs.records_of(folder)
    for table, room_name in (("evaluations", "eval/"), ("timings", "throughput/")):
        assert len(getattr(found, table)) == sum(room_name in name for name in kept)
    assert len(found.epochs) == sum(name.endswith("/epoch.json") for name in kept)
    # Manifests, of weights that stay, hold more provenance than the records beside them.
    tuned = found.trainings[found.trainings.base != "trim"]
    epochs = found.epochs[found.epochs["name"].isin(["paper", "ours"])]
    assert all("hardware" in one for one in (*tuned.provenance, *epochs.provenance))


def test_a_row_says_what_a_file_does(evaluations: Evaluations, tmp_path: Path) -> None:
    path = evaluations.add("trim_both_r0.5/drop_30+awq_int4", 70, kept=30, seed=3)
    (row,) = rows(Frame.of([path]).evaluations)
    facts = (row.results, row.model, row.domain, row.tested, row.task, row.source)
    assert facts == (str(tmp_path), "tiny", "sciq", "sciq", "sciq", path.as_posix())
    facts = (row.base, row.name, row.criterion, row.ratio, row.step, row.dropped, row.compressor)
    assert facts == ("trim", "both_r0.5", "both", 0.5, 6, 30, "awq_int4")
    assert (row.n, row.right, row.accuracy, sum(row.scores), row.seed) == (200, 140, 70, 140, 3)
    assert (row.kept_percent, row.chance, row.documents) == (50, 25, "same-sciq")


def test_nothing_measured_has_the_same_columns() -> None:
    found = Frame.of()
    for name, columns in COLUMNS.items():
        table = getattr(found, name)
        assert list(table) == [*columns.split(), "provenance", "source"] and table.empty
        assert where(table, model="tiny", compressor=None).empty


def test_a_folder_and_its_replicates(tmp_path: Path) -> None:
    for seed in (0, 1):
        root = tmp_path / f"seed{seed}"
        Evaluations(root).add("full_ft", 70 + seed, seed=seed)
        write_chain(root, plain_chain(), seed=seed)
        TimingFiles(root).add("full", 10, full=None)
    # What was being written when its writer was killed.
    (tmp_path / "seed0/eval/tiny/sciq/.full_ft.tmp-1").mkdir()
    (tmp_path / "seed0/eval/tiny/sciq/.full_ft.tmp-1/sciq.json").write_text("{")
    found = frame(tmp_path / "seed0", [tmp_path / "seed1"])
    assert sorted(found.evaluations.accuracy) == [70, 71] and len(found.epochs) == 6
    assert list(found.timings.results) == [str(tmp_path / "seed0")]
    with pytest.raises(UserError, match="measure the same; give one of them"):
        frame(tmp_path / "seed0", [tmp_path / "seed0"])
    with pytest.raises(UserError, match="nowhere does not exist"):
        frame(tmp_path / "nowhere")


def test_a_note_says_what_was_measured_here(tmp_path: Path) -> None:
    kept, mine = tmp_path / "results/kept_real", tmp_path / "results"
    kept_runs.write(kept, {"scans/m/d.json": {"content": {}}}, "seed: 0\n")
    of_kept = [kept / "scans/m/d.json", kept / "seed_1/eval/m/d/full_ft/t.json"]
    of_mine = [mine / "scans/m/d.json"]
    assert tier_note([*of_kept]) == (
        "Kept results of this project (results/kept_real), not of your own run"
    )
    assert tier_note(of_mine) == "Measured here"
    assert tier_note([*of_kept, *of_mine]).startswith("Mixed")
    assert tier_note([]) == "Nothing measured"
