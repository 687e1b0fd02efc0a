"""Figures: frontiers, and pictures of whatever is there."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from chain_files import epoch, every_unit, plain_chain, write_chain, write_training
from evaluation_files import Evaluations
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from matplotlib.text import Text
from timing_files import bench

from trimllm_paper.chains import Run, read_chain
from trimllm_paper.figures import figure1, figure2, figure3, figure4
from trimllm_paper.figures.figure2 import Point, by_latency, by_memory, pareto, points_of
from trimllm_paper.figures.panels import compressed, not_run, paper_column
from trimllm_paper.measured import Results
from trimllm_paper.timings import read_timing

RUN = Run(0.25, 6)
MODEL = {"name": "tiny", "label": "Tiny", "published": None}
DOMAINS = [
    {"name": "sciq", "label": "SciQ", "tasks": ["sciq"], "stand_in": "other questions"},
    {"name": "notinpaper", "label": "Mine", "tasks": ["notinpaper"]},
]
CRITERIA = ["both", "likelihood"]


def size(path: Path) -> tuple[int, int]:
    """Width and height of a PNG."""
    return struct.unpack(">II", path.read_bytes()[16:24])


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 9)), max_size=12))
def test_the_frontier_is_what_nothing_beats(pairs: list[tuple[int, int]]) -> None:
    points = [Point(cost, percent, "both") for cost, percent in pairs]
    front = pareto(points)

    def beaten(one: Point) -> bool:
        return any(
            other.cost <= one.cost
            and other.percent >= one.percent
            and (other.cost, other.percent) != (one.cost, one.percent)
            for other in points
        )

    expected = {(one.cost, one.percent) for one in points if not beaten(one)}
    assert {(one.cost, one.percent) for one in front} == expected
    assert [one.cost for one in front] == sorted({one.cost for one in front})


def test_points_by_memory_and_by_latency(evaluations: Evaluations, tmp_path: Path) -> None:
    evaluations.add_domain("sciq")
    evaluations.add("full_ft+awq_int4", 70, weight_bytes=80_000_000)
    evaluations.add("trim_both_r0.25_d6/drop_30+awq_int4", 60, kept=30)
    results = Results(evaluations.paths)
    points = points_of(results, "tiny", DOMAINS[0], CRITERIA, RUN, by_memory)
    groups = [point.group for point in points]
    assert groups.count("both") == groups.count("likelihood") == 3
    assert {"full_ft", "awq_int4", "both+awq_int4"} <= set(groups) and len(points) == 9
    assert next(p.cost for p in points if p.group == "awq_int4") == pytest.approx(80.0)
    timings = [
        read_timing(bench(tmp_path, "full_ft", 20.0)),
        read_timing(bench(tmp_path, "trim_both_r0.25_d6/drop_30+awq_int4", 50.0)),
    ]
    timed = points_of(results, "tiny", DOMAINS[0], CRITERIA, RUN, by_latency(timings))
    assert {p.group: p.cost for p in timed} == {"full_ft": 50.0, "both+awq_int4": 20.0}
    assert all(p.spread[0] < p.cost < p.spread[1] for p in timed)


def test_figures_of_all_that_there_is(evaluations: Evaluations, tmp_path: Path) -> None:
    evaluations.add_domain("sciq", stand_in="other questions")
    evaluations.add_domain("notinpaper")
    evaluations.add("full_ft+awq_int4", 70, weight_bytes=80_000_000)
    chains = [write_chain(tmp_path, plain_chain(c), criterion=c) for c in CRITERIA]
    trainings = [write_training(tmp_path, r, 4.0) for r in ("full_ft", "sparse_ft")]
    how = {"criteria": CRITERIA, "run": RUN}
    evals, timings = evaluations.paths, [bench(tmp_path, "full_ft", 20.0)]
    figure1.draw(evals, MODEL, DOMAINS, tmp_path / "figure1", **how)
    figure2.draw(evals, timings, MODEL, DOMAINS, tmp_path / "figure2", **how)
    figure3.draw(chains, MODEL, DOMAINS, tmp_path / "figure3", **how)
    figure4.draw(chains, trainings, MODEL, DOMAINS, tmp_path / "figure4", **how)
    for name in ("figure1", "figure2", "figure3", "figure4"):
        assert (tmp_path / f"{name}.pdf").read_bytes().startswith(b"%PDF")
        assert min(size(tmp_path / f"{name}.png")) > 300
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_figures_of_nothing_say_so(tmp_path: Path) -> None:
    how = {"criteria": CRITERIA, "run": RUN}
    figure1.draw([], MODEL, DOMAINS, tmp_path / "figure1", **how)
    figure2.draw([], [], MODEL, DOMAINS, tmp_path / "figure2", **how)
    figure3.draw([], MODEL, DOMAINS, tmp_path / "figure3", **how)
    figure4.draw([], [], MODEL, DOMAINS, tmp_path / "figure4", **how)
    assert len(list(tmp_path.glob("*.png"))) == 4


def test_equal_results_give_equal_pictures(evaluations: Evaluations, tmp_path: Path) -> None:
    evaluations.add_domain("sciq")
    for name in ("a", "b"):
        figure1.draw(
            evaluations.paths, MODEL, DOMAINS[:1], tmp_path / name, criteria=CRITERIA, run=RUN
        )
    for suffix in ("png", "pdf"):
        first, second = ((tmp_path / f"{name}.{suffix}").read_bytes() for name in ("a", "b"))
        assert first == second


def test_the_heat_map_has_a_hole_where_a_unit_is_gone(tmp_path: Path) -> None:
    chain = read_chain(write_chain(tmp_path, plain_chain()))
    mlp = figure3.grid(chain, "mlp")
    assert len(mlp) == 3 and len(mlp[0]) == 4
    assert mlp[1][0] == 90 and mlp[2][0] != mlp[2][0]  # NaN


@pytest.fixture
def pictured(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Everything that is written in the figures drawn meanwhile."""
    texts: list[str] = []

    def save(drawn: Figure, stem: Path) -> None:
        shown = [one for one in drawn.findobj(Text) if one.get_visible()]
        texts.extend(" ".join(one.get_text().split()) for one in shown)

    for module in (figure1, figure2, figure3, figure4):
        monkeypatch.setattr(module, "save", save)
    return texts


def authors(root: Path, domain: str = "sciq") -> Path:
    """What the authors' code drops: of equals the MLP; one attention is clearly best."""
    scores = every_unit(attention1=9)
    first = epoch(0, [], scores, criterion="authors", documents=50)
    second = epoch(1, [(1, "attention"), (0, "mlp")], scores, criterion="authors", documents=50)
    return write_chain(root, [first, second], criterion="authors", domain=domain)


def test_the_authors_code_stands_beside_and_says_so(tmp_path: Path, pictured: list[str]) -> None:
    paths = [authors(tmp_path), write_chain(tmp_path, plain_chain())]
    how = {"criteria": ["both", "authors"], "run": RUN}
    figure3.draw(paths, MODEL, DOMAINS, tmp_path / "figure3", **how)
    for heading in ("authors' code (compat) attention", "authors' code (compat) MLP"):
        assert pictured.count(heading) == 1
    assert pictured.count("authors' code") == 1  # under the bars, in the one domain that has it
    # Two heat maps of `both` and two of the authors' code have no chain in the second domain.
    assert pictured.count("not run") == 4
    notes = max(pictured, key=len)
    assert "Authors' code (compat: authors)" in notes
    assert "n = 10 calibration documents" in notes and "on 50 of the test documents" in notes
    assert "both (paper) 2 / 2, without ties 2 / 2" in notes
    assert "authors' code (compat) 1 / 1, without ties 1 / 0" in notes
    assert "Mine: " not in notes


def test_without_compat_the_authors_code_is_not_mentioned(
    tmp_path: Path, pictured: list[str]
) -> None:
    paths = [authors(tmp_path), write_chain(tmp_path, plain_chain())]
    figure3.draw(paths, MODEL, DOMAINS, tmp_path / "figure3", criteria=["both"], run=RUN)
    assert pictured and not [text for text in pictured if "uthors" in text]


def test_figures_say_their_seed(
    evaluations: Evaluations, tmp_path: Path, pictured: list[str]
) -> None:
    evaluations.add("full_ft", 80, seed=7)
    chain = [one | {"settings": {"seed": 7}} for one in plain_chain()]
    records, how = [write_chain(tmp_path, chain)], {"criteria": CRITERIA, "run": RUN}
    figure1.draw(evaluations.paths, MODEL, DOMAINS, tmp_path / "figure", **how)
    figure2.draw(evaluations.paths, [], MODEL, DOMAINS, tmp_path / "figure", **how)
    figure3.draw(records, MODEL, DOMAINS, tmp_path / "figure", **how)
    figure4.draw(records, [], MODEL, DOMAINS, tmp_path / "figure", **how)
    assert sum("Measured here. Seed 7. " in text for text in pictured) == 4


def test_absent_compressors_are_named(evaluations: Evaluations) -> None:
    evaluations.add("full_ft+awq_int4", 70)
    found = compressed(Results(evaluations.paths), "tiny", "sciq", ["sciq"])
    assert set(found) == {"awq_int4"}
    assert not_run(figure1.PAPER_COMPRESSORS, found) == (
        "Not run: LLM-Pruner, SparseGPT (2:4), LLM.int8()."
    )
    assert not_run(["awq_int4"], found) == ""


def test_the_papers_columns() -> None:
    assert paper_column("llama-7b", "sciq")["trimllm_50"] == 94.2
    assert paper_column("opt-1.3b", "lexglue")["full_ft"] == 24.7
    assert paper_column("llama-7b", "notinpaper") == {} == paper_column("opt-1.3b", "piqa")
