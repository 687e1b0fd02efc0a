"""Table 9 from records of training: sums, scaling, extrapolation, and verdicts on shares."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from trimllm.base.errors import UserError
from trimllm_paper.tables import table9
from trimllm_paper.tables.durations import Durations
from trimllm_paper.tables.render import to_csv, to_text
from trimllm_paper.tables.table import Table

TINY = {"name": "tiny", "label": "Tiny-135M", "published": None}
SCIQ = {"name": "sciq", "label": "SciQ"}


def training(root: Path, recipe: str, seconds: list[float], documents: int = 60) -> Path:
    path = root / "models/tiny/sciq" / recipe / "training.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    passes = [{"seconds": s, "documents": documents} for s in seconds]
    path.write_text(json.dumps({"passes": passes}))
    return path


def chain(root: Path, train: list[float], scan: list[float], documents: int = 60) -> Path:
    path = root / "records/tiny/sciq/trim_both_r0.25_d6.jsonl"
    path.parent.mkdir(parents=True)
    lines = [
        {"seconds": {"train": t, "scan": s}, "training": {"documents": documents}}
        for t, s in zip(train, scan, strict=True)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def build(trainings: list[Path], chains: list[Path]) -> Table:
    runs = {"both": "trim_both_r0.25_d6"}
    return table9.build(trainings, chains, [TINY], SCIQ, runs=runs, ratio=0.25)


@pytest.fixture
def table(tmp_path: Path) -> Table:
    trainings = [training(tmp_path, "full_ft", [600, 600])]
    trainings.append(training(tmp_path, "sparse_ft", [360] * 8))
    train, scan = [300, 240, 200, 160, 120, 100, 80, 60], [0, 60, 50, 40, 30, 20, 10, 5]
    return build(trainings, [chain(tmp_path, train, scan)])


def test_minutes_are_sums_of_epochs(table: Table) -> None:
    def minutes(row: str, epochs: int) -> float | None:
        return table.cell("tiny", row, f"minutes_{epochs}").measured

    assert minutes("full_ft", 2) == 20 and minutes("sparse_ft", 4) == 24
    assert minutes("trimllm", 2) == 10
    assert minutes("trimllm_both_train", 4) == 15 and minutes("trimllm_both_scan", 4) == 2.5
    for epochs in (2, 4, 8):
        parts = minutes("trimllm_both_train", epochs) + minutes("trimllm_both_scan", epochs)
        assert minutes("trimllm", epochs) == pytest.approx(parts)


def test_what_was_not_run_is_extrapolated_and_says_so(table: Table) -> None:
    cell = table.cell("tiny", "full_ft", "minutes_8")
    assert cell.measured == 80 and "2 epochs measured, their mean times 8" in cell.why
    assert cell.n == 2
    assert "8 epochs measured" in table.cell("tiny", "sparse_ft", "minutes_8").why


def test_verdicts_compare_shares_of_full_fine_tuning(table: Table) -> None:
    share = table.cell("tiny", "sparse_ft", "share_2")
    assert share.measured == 60 and share.published == pytest.approx(100 * 2.5 / 4.1)
    assert share.verdict == "shape only"
    # 10 of 20 minutes, the paper 44%; 22.5 of 80, the paper 39%.
    assert table.cell("tiny", "trimllm", "share_2").verdict == "shape only"
    last = table.cell("tiny", "trimllm", "share_8")
    assert last.measured == pytest.approx(100 * 24.58333 / 80, abs=1e-3)
    assert last.verdict == "shape only"
    assert table.cell("tiny", "full_ft", "minutes_4").verdict == "shape only"
    assert table.cell("tiny", "full_ft", "minutes_4").published == pytest.approx(8.3 * 60)


def test_a_chain_is_not_extrapolated(tmp_path: Path) -> None:
    trainings = [training(tmp_path, "full_ft", [600])]
    table = build(trainings, [chain(tmp_path, [100, 80, 60], [0, 5, 5])])
    assert table.cell("tiny", "trimllm", "minutes_4").verdict == "not run"
    assert table.cell("tiny", "trimllm", "minutes_2").measured == pytest.approx(185 / 60)
    # Sparse-FT was not run: whether Full-FT takes longest is not known.
    assert table.cell("tiny", "full_ft", "minutes_2").verdict == "not run"
    assert "not run" in to_text(table) and to_csv(table)


def test_epochs_of_other_sizes_are_scaled_but_scans_are_not(tmp_path: Path) -> None:
    trainings = [training(tmp_path, "full_ft", [600], documents=120)]
    table = build(trainings, [chain(tmp_path, [150, 150], [0, 60], documents=60)])
    assert table.cell("tiny", "trimllm", "minutes_2").measured == pytest.approx(11)


def test_a_share_far_from_the_papers_is_not_reproduced(tmp_path: Path) -> None:
    trainings = [training(tmp_path, "full_ft", [60]), training(tmp_path, "sparse_ft", [59])]
    table = build(trainings, [chain(tmp_path, [60] * 8, [60] * 8)])
    assert table.cell("tiny", "sparse_ft", "share_4").verdict == "not reproduced"
    assert table.cell("tiny", "full_ft", "minutes_2").verdict == "not reproduced"


def test_seeds_give_mean_and_deviation(tmp_path: Path) -> None:
    trainings = [training(tmp_path / str(s), "full_ft", [60 * s]) for s in (1, 2, 3)]
    # A tenth of each, so that the shares do not differ.
    trainings += [training(tmp_path / str(s), "sparse_ft", [6 * s]) for s in (1, 2, 3)]
    table = build(trainings, [])
    cell = table.cell("tiny", "full_ft", "minutes_2")
    assert cell.measured == pytest.approx(4) and cell.deviation == pytest.approx(2)
    share = table.cell("tiny", "sparse_ft", "share_2")
    assert share.measured == pytest.approx(10) and share.deviation == pytest.approx(0)
    uneven = build(trainings[:4], []).cell("tiny", "sparse_ft", "share_2")
    assert uneven.measured == pytest.approx(5) and uneven.deviation is None


def manifest(path: Path, **provenance: object) -> Path:
    """The manifest beside a checkpoint, as far as Table 9 reads it."""
    known = {
        "git_commit": "c" * 40,
        "started": "2026-01-05T23:00:00+00:00",
        "hardware": {"cpu": "A & B", "cores": 2},
        "seed": 3,
        "versions": {"torch": "2.13.0"},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"files": {}, "provenance": known | provenance}))
    return path


def told(root: Path, *manifests: Path) -> str:
    """The whole table, on a line each, of one record of training."""
    paths = [training(root, "full_ft", [60])]
    runs = {"both": "trim_both_r0.25_d6"}
    table = table9.build(paths, [], [TINY], SCIQ, runs=runs, ratio=0.25, manifests=manifests)
    return to_text(table, width=2000)


def test_tier_and_provenance_are_told(tmp_path: Path) -> None:
    text = told(tmp_path, manifest(tmp_path / "models/tiny/sciq/full_ft/manifest.json"))
    for fact in ("Measured here: 1 records", "A & B, 2 cores", "Seed: 3", "torch 2.13.0", "c" * 12):
        assert fact in text, fact
    assert "Warning" not in text and "seeds" not in text
    other = manifest(tmp_path / "seed_4/models/tiny/sciq/full_ft/manifest.json", seed=4)
    first = tmp_path / "models/tiny/sciq/full_ft/manifest.json"
    assert "2 seeds: mean ± standard deviation" in told(tmp_path, first, other)
    assert "Reference: kept results" in told(tmp_path / "reference")
    nothing = table9.build([], [], [TINY], SCIQ, runs={}, ratio=0.25)
    assert "Nothing has been measured yet" in nothing.notes


@pytest.mark.parametrize(
    "change, words",
    [
        ({"git_commit": "d" * 40}, f"code {'c' * 12} and {'d' * 12}"),
        ({"git_commit": "c" * 40 + "-dirty"}, f"code {'c' * 12} and {'c' * 12}-dirty"),
        ({"started": "2026-01-06T00:00:01+00:00"}, "days 2026-01-05 and 2026-01-06"),
        ({"hardware": {"cpu": "C", "cores": 2}}, "machines A & B, 2 cores and C, 2 cores"),
    ],
)
def test_parts_of_several_runs_are_warned_of(tmp_path: Path, change: dict, words: str) -> None:
    here = tmp_path / "models/tiny/sciq"
    first = manifest(here / "full_ft/manifest.json")
    other = here / "trim_both_r0.25_d6/drop_30/manifest.json"
    text = told(tmp_path, first, manifest(other, **change))
    (line,) = (line for line in text.splitlines() if "Warning" in line)
    assert line.endswith(words)
    # A run under another seed, and another model, are runs of their own.
    elsewhere = [tmp_path / "seed_1/models/tiny/sciq", tmp_path / "models/big/sciq"]
    for place in elsewhere:
        apart = manifest(place / "full_ft/manifest.json", **change)
        assert "Warning" not in told(place, first, apart)


@pytest.mark.parametrize("content", ["{}", '{"passes": []}'])
def test_an_empty_record_is_refused(tmp_path: Path, content: str) -> None:
    path = training(tmp_path, "full_ft", [1])
    path.write_text(content)
    with pytest.raises(UserError, match="records no pass"):
        Durations([path], [])


def test_a_file_elsewhere_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "training.json"
    path.write_text("{}")
    with pytest.raises(UserError, match="is not of the form models/MODEL/DOMAIN/RECIPE"):
        Durations([path], [])
