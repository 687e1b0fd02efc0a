"""Table 9 from records of training: sums, scaling, extrapolation, and verdicts on shares."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from chain_files import epoch, every_unit, write_chain, write_training
from evaluation_files import rewrite
from table_building import build

from trimllm.base import files
from trimllm_paper.render import Table, to_csv, to_markdown


def training(
    root: Path, recipe: str, seconds: list[float], tokens: int = 100, **changes: Any
) -> Path:
    """A record of fine-tuning with so many seconds a pass; a chain's epoch has 100 tokens."""
    path = write_training(root, recipe, 1.0, passes=len(seconds))
    passes = files.read_json(path)["passes"]
    each = zip(passes, seconds, strict=True)
    rewrite(path, passes=[one | {"seconds": s, "tokens": tokens} for one, s in each])
    if changes:
        rewrite(path, **changes)
    return path


def chain(root: Path, train: list[float], scan: list[float], seed: int = 0) -> list[Path]:
    """Records of a chain's epochs; each but the first drops a unit of sixty."""
    units = [(block, kind) for block in range(30) for kind in ("attention", "mlp")]
    gone = [[], *([unit] for unit in units[1 : len(train)])]
    epochs = [
        epoch(n, drops, every_unit(blocks=30), blocks=30, seconds=t, scan_seconds=s)
        for n, (drops, t, s) in enumerate(zip(gone, train, scan, strict=True))
    ]
    return write_chain(root, epochs, step=1, seed=seed)


@pytest.fixture
def table(tmp_path: Path) -> Table:
    trainings = [training(tmp_path, "full_ft", [600, 600])]
    trainings.append(training(tmp_path, "sparse_ft", [360] * 8))
    train, scan = [300, 240, 200, 160, 120, 100, 80, 60], [0, 60, 50, 40, 30, 20, 10, 5]
    return build("table9", trainings=trainings, epochs=chain(tmp_path, train, scan))


def test_minutes_are_sums_of_epochs_without_their_scans(table: Table) -> None:
    def measured(row: str, column: str) -> float | None:
        return table.cell("tiny", row, column).measured

    assert measured("full_ft", "minutes_2") == 20 and measured("sparse_ft", "minutes_4") == 24
    assert measured("trimllm", "minutes_2") == 9 and measured("trimllm", "minutes_4") == 15
    # 2.5 of 40 minutes, and 215 seconds of 80 minutes
    assert measured("trimllm", "scans_4") == pytest.approx(100 * 2.5 / 40)
    assert measured("trimllm", "scans_8") == pytest.approx(100 * 215 / 4800)
    assert measured("full_ft", "scans_2") is None and measured("sparse_ft", "scans_2") is None
    for row in ("full_ft", "trimllm"):
        assert table.cell("tiny", row, "scans_2").verdict is None
    assert any("not interleaved" in note for note in table.notes)


def test_what_was_not_run_is_extrapolated_and_says_so(table: Table) -> None:
    cell = table.cell("tiny", "full_ft", "minutes_8")
    assert cell.measured == 80 and "2 epochs measured, their mean times 8" in cell.why
    assert cell.n == 2
    assert "8 epochs measured" in table.cell("tiny", "sparse_ft", "minutes_8").why


def seeds(root: Path, full: float, sparse: float, train: list[float], scan: list[float]) -> Table:
    """Three runs, each a bit slower in all."""
    trainings, epochs = [], []
    for seed, slower in ((1, 1.0), (2, 1.01), (3, 1.02)):
        place = root / str(seed)
        for recipe, seconds in (("full_ft", full), ("sparse_ft", sparse * slower)):
            trainings.append(training(place, recipe, [seconds * slower] * 2, seed=seed))
        epochs += chain(place, [slower * one for one in train], scan, seed)
    return build("table9", trainings=trainings, epochs=epochs)


def test_verdicts_compare_shares_of_full_fine_tuning(tmp_path: Path) -> None:
    train, scan = [300, 240, 200, 160, 120, 100, 80, 60], [0, 60, 50, 40, 30, 20, 10, 5]
    table = seeds(tmp_path, 600, 356, train, scan)
    share = table.cell("tiny", "sparse_ft", "share_2")
    assert share.measured == pytest.approx(60, abs=0.1)
    assert share.published == pytest.approx(100 * 2.5 / 4.1)
    assert share.verdict == "seen on the stand-in"
    # 9 of 20 minutes, the paper 44%; 21 of 80, the paper 39%.
    assert table.cell("tiny", "trimllm", "share_2").verdict == "seen on the stand-in"
    last = table.cell("tiny", "trimllm", "share_8")
    assert last.measured == pytest.approx(100 * 21 / 80, abs=0.1)
    assert "26 (26 to 26)% of Full-FT, paper 39%" in last.why
    assert last.verdict == "not seen on the stand-in"
    assert table.cell("tiny", "full_ft", "minutes_4").verdict == "seen on the stand-in"
    assert table.cell("tiny", "full_ft", "minutes_4").published == pytest.approx(8.3 * 60)
    assert table.cell("tiny", "trimllm_ours", "minutes_2").verdict == "not run"


def test_a_chain_is_not_extrapolated(tmp_path: Path) -> None:
    trainings = [training(tmp_path, "full_ft", [600])]
    table = build("table9", trainings=trainings, epochs=chain(tmp_path, [100, 80, 60], [0, 5, 5]))
    assert table.cell("tiny", "trimllm", "minutes_4").verdict == "not run"
    assert table.cell("tiny", "trimllm", "scans_4").verdict == "not run"
    assert table.cell("tiny", "trimllm", "minutes_2").measured == pytest.approx(180 / 60)
    # Sparse-FT was not run: whether Full-FT takes longest is not known.
    assert table.cell("tiny", "full_ft", "minutes_2").verdict == "not run"
    assert "not run" in to_markdown(table) and to_csv(table)


def test_epochs_have_as_many_tokens_as_those_of_full_fine_tuning(tmp_path: Path) -> None:
    trainings = [training(tmp_path, "full_ft", [600], tokens=200)]
    trainings.append(training(tmp_path, "sparse_ft", [90], tokens=50))
    table = build("table9", trainings=trainings, epochs=chain(tmp_path, [150, 150], [0, 60]))
    assert table.cell("tiny", "trimllm", "minutes_2").measured == pytest.approx(10)
    assert table.cell("tiny", "sparse_ft", "share_2").measured == pytest.approx(60)
    # A scan goes with the calibration documents: 1 of 20 minutes.
    assert table.cell("tiny", "trimllm", "scans_2").measured == pytest.approx(5)
