"""Figures: frontiers, and pictures of whatever is there."""

from __future__ import annotations

import struct
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from chain_files import plain_chain, write_chain, write_training
from context_files import context
from evaluation_files import Evaluations
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.collections import FillBetweenPolyCollection
from matplotlib.figure import Figure
from pandas import DataFrame
from timing_files import timing

from trimllm_paper import derive
from trimllm_paper.figures import FIGURES, figure3, style
from trimllm_paper.figures.figure2 import POINT, by_latency, by_memory, pareto, points_of
from trimllm_paper.frames import Frame

CONTEXT = context("sciq", "notinpaper", stand_in={"sciq": "other questions"})
SCIQ = CONTEXT.domains[0]


def draw(frame: Frame, folder: Path, names: Any = FIGURES, **changes: Any) -> None:
    """Draw figures of the tests' configuration, with some of it changed."""
    shown = CONTEXT.model_copy(update=changes)
    for name in names:
        import_module(f"trimllm_paper.figures.{name}").draw(frame, shown, folder / name)


def size(path: Path) -> tuple[int, int]:
    """Width and height of a PNG."""
    return struct.unpack(">II", path.read_bytes()[16:24])


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 9)), max_size=12))
def test_the_frontier_is_what_nothing_beats(pairs: list[tuple[int, int]]) -> None:
    front = pareto(DataFrame(pairs, columns=["cost", "percent"], dtype=float))

    def beaten(one: tuple[int, int]) -> bool:
        return any(other[0] <= one[0] and other[1] >= one[1] and other != one for other in pairs)

    expected = {one for one in pairs if not beaten(one)}
    assert set(zip(front.cost, front.percent, strict=True)) == expected
    assert list(front.cost) == sorted(set(front.cost))


def test_points_by_memory_and_by_latency(evaluations: Evaluations, tmp_path: Path) -> None:
    evaluations.add_domain("sciq")
    evaluations.add("full_ft+awq_int4", 70, weight_bytes=80_000_000)
    evaluations.add("trim_paper/drop_30+awq_int4", 60, kept=30)
    timings = [timing(tmp_path, "full_ft", 20.0)]
    timings.append(timing(tmp_path, "trim_paper/drop_30+awq_int4", 50.0))
    frame = Frame.of(evaluations=evaluations.paths, throughput=timings)
    points = points_of(frame, CONTEXT, SCIQ, by_memory)
    groups = list(points.group)
    assert tuple(points.columns) == POINT
    assert groups.count("paper") == groups.count("ours") == 3
    assert {"full_ft", "awq_int4", "paper+awq_int4"} <= set(groups) and len(points) == 9
    assert points.cost[points.group == "awq_int4"].tolist() == pytest.approx([80.0])
    timed = points_of(frame, CONTEXT, SCIQ, by_latency(frame.timings))
    assert dict(zip(timed.group, timed.cost, strict=True)) == {
        "full_ft": 50.0,
        "paper+awq_int4": 20.0,
    }
    assert (timed.cost_low < timed.cost).all() and (timed.cost < timed.cost_high).all()


def test_figures_of_all_that_there_is(evaluations: Evaluations, tmp_path: Path) -> None:
    evaluations.add_domain("sciq", stand_in="other questions")
    evaluations.add_domain("notinpaper")
    evaluations.add("full_ft+awq_int4", 70, weight_bytes=80_000_000)
    epochs = [
        *write_chain(tmp_path, plain_chain("both"), name="paper"),
        *write_chain(tmp_path, plain_chain("likelihood"), name="ours"),
    ]
    trainings = [write_training(tmp_path, r, 4.0) for r in ("full_ft", "sparse_ft")]
    timings = [timing(tmp_path, "full_ft", 20.0)]
    draw(Frame.of(evaluations.paths, epochs, trainings, timings), tmp_path)
    assert len(FIGURES) == 4
    for name in FIGURES:
        assert (tmp_path / f"{name}.pdf").read_bytes().startswith(b"%PDF")
        assert min(size(tmp_path / f"{name}.png")) > 300
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_figures_of_nothing_say_so(tmp_path: Path) -> None:
    draw(Frame.of(), tmp_path)
    assert len(list(tmp_path.glob("*.png"))) == 4


def test_the_heat_map_has_a_hole_where_a_unit_is_gone(tmp_path: Path) -> None:
    (chain,) = derive.chains(Frame.of(epochs=write_chain(tmp_path, plain_chain())))
    mlp = figure3.grid(chain, "mlp")
    assert len(mlp) == 3 and len(mlp[0]) == 4
    assert mlp[1][0] == 90 and mlp[2][0] != mlp[2][0]  # NaN


def test_figure1_has_a_band_over_seeds(
    evaluations: Evaluations, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bands: list[FillBetweenPolyCollection] = []

    def save(drawn: Figure, stem: Path) -> None:
        bands[:] = drawn.findobj(FillBetweenPolyCollection)

    monkeypatch.setattr(style, "save", save)
    evaluations.add_domain("sciq")
    draw(Frame.of(evaluations.paths), tmp_path, ["figure1"], domains=(SCIQ,))
    assert not bands
    other = Evaluations(tmp_path / "other")
    for dropped, acc in ((30, 61), (36, 55)):
        evaluations.add(f"trim_paper/drop_{dropped}", 50, kept=60 - dropped)
        other.add(f"trim_paper/drop_{dropped}", acc, kept=60 - dropped, seed=1)
    frame = Frame.of([*evaluations.paths, *other.paths])
    draw(frame, tmp_path, ["figure1"], domains=(SCIQ,))
    (band,) = bands
    heights = band.get_paths()[0].vertices[:, 1]
    # Means and deviations of 50 and 61, 50 and 55: 55.5 and 7.8, 52.5 and 3.5.
    assert (heights.min(), heights.max()) == pytest.approx((55.5 - 7.78, 55.5 + 7.78), abs=0.01)
