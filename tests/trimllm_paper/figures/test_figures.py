"""Figures: their numbers, and pictures of whatever is there."""

from pathlib import Path

import pytest
from configurations import ROOT
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from result_files import (
    Evaluations,
    column,
    context,
    plain_chain,
    timing,
    write_chain,
    write_training,
)

from trimllm_paper import derive
from trimllm_paper.config import load, read_yaml
from trimllm_paper.context import Context
from trimllm_paper.figures import FIGURES, drawings
from trimllm_paper.figures.drawings import Point, pareto, points_of
from trimllm_paper.frames import Frame
from trimllm_paper.jobs import Jobs
from trimllm_paper.targets import Targets

COLUMNS = [column("sciq", stand_in="other questions"), column("notinpaper")]
CONTEXT = context(domains=COLUMNS)


@pytest.fixture
def frame(evaluations: Evaluations, tmp_path: Path) -> Frame:
    """Two domains, two chains, and timings."""
    evaluations.add_domain("sciq", stand_in="other questions")
    evaluations.add_domain("notinpaper")
    evaluations.add("full_ft+awq_int4", 70, weight_bytes=80_000_000)
    evaluations.add("trim_paper/drop_30+awq_int4", 60, kept=30)
    epochs = [
        *write_chain(tmp_path, plain_chain("both"), name="paper"),
        *write_chain(tmp_path, plain_chain("likelihood"), name="ours"),
    ]
    trainings = [write_training(tmp_path, r, 4.0) for r in ("full_ft", "sparse_ft")]
    timings = [timing(tmp_path, "full_ft", 20.0)]
    timings.append(timing(tmp_path, "trim_paper/drop_30+awq_int4", 50.0))
    return Frame.of(evaluations.paths, epochs, trainings, timings)


@pytest.mark.parametrize("name", (*FIGURES, "readme"))
@pytest.mark.parametrize("empty", [False, True])
def test_figures_of_all_and_of_nothing(
    frame: Frame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, empty: bool
) -> None:
    drawn: list[Figure] = []
    saved = Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda one, *a, **b: (drawn.append(one), saved(one, *a, **b))
    )
    draw = getattr(drawings, name)
    draw(Frame.of() if empty else frame, CONTEXT, tmp_path / "made" / name)
    assert (tmp_path / f"made/{name}.pdf").read_bytes().startswith(b"%PDF")
    assert (tmp_path / f"made/{name}.png").read_bytes().startswith(b"\x89PNG")
    entries = [text.get_text() for text in drawn[0].legends[0].get_texts()]
    assert len(entries) == len({*entries})
    if name == "figure1":
        assert any("not in the paper" in one.get_text() for one in drawn[0].axes[-1].texts)
    note = drawn[0]._supxlabel.get_text().replace("\n", " ")
    assert ("Nothing measured" if empty else "Measured here") in note and "† stand-in" not in note


def test_readmes_plot_is_that_of_its_kept_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    file = Path("results/reference_real/config.yaml")
    config = load(read_yaml(file), [file])
    model = "smollm2-135m"
    shown = Context.model_validate(Context.of(config, model).model_dump(mode="json"))
    files = Targets(Jobs(config), "", kept=True).figure("readme", model)
    drawings.readme(Frame.of(**files), shown, tmp_path / "readme_sciq")
    for name in ("readme_sciq.png", "readme_sciq.pdf"):
        assert (tmp_path / name).read_bytes() == Path("paper_figures", name).read_bytes()


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 9)), max_size=12))
def test_the_frontier_is_what_nothing_beats(pairs: list[tuple[int, int]]) -> None:
    front = pareto([Point("x", *pair) for pair in pairs])

    def beaten(one: tuple[int, int]) -> bool:
        return any(other[0] <= one[0] and other[1] >= one[1] and other != one for other in pairs)

    assert {(one.cost, one.percent) for one in front} == {p for p in pairs if not beaten(p)}
    assert [one.cost for one in front] == sorted({one.cost for one in front})


def test_points_by_memory_and_by_latency(frame: Frame) -> None:
    domain = CONTEXT.domains[0]
    points = points_of(frame, CONTEXT, domain)
    groups = [one.group for one in points]
    assert groups.count("paper") == groups.count("ours") == 3
    assert {"full_ft", "awq_int4", "paper+awq_int4"} <= {*groups} and len(points) == 9
    (awq,) = (one for one in points if one.group == "awq_int4")
    assert awq.cost == pytest.approx(100 * 80 / 269) and awq.percents[0] < awq.percent
    timed = points_of(frame, CONTEXT, domain, frame.timings)
    assert {one.group: one.cost for one in timed} == {"full_ft": 50.0, "paper+awq_int4": 20.0}
    assert all(one.costs[0] < one.cost < one.costs[1] for one in timed)


def test_drops_by_depth_are_shares_of_each_part(tmp_path: Path) -> None:
    """Of four blocks in six parts: the MLPs of the first two went, the attentions of the others."""
    chains = derive.chains(Frame.of(epochs=write_chain(tmp_path, plain_chain())))
    assert drawings.by_depth(chains, "mlp") == [100, 100, 0, 0, 0, 0]
    assert drawings.by_depth(chains, "attention") == [0, 0, 0, 100, 100, 0]


def test_costs_are_epochs_times_their_share_of_full_ft(frame: Frame) -> None:
    """Epochs of 2 s and scans of 1 s, beside passes of 4 s over as many tokens."""
    costs = drawings.costs_of(frame, CONTEXT)
    assert costs["paper", "training"] == {0: [0.5], 25: [1.0], 50: [1.5]}
    assert costs["ours", "with scans"][50] == [pytest.approx(2.25)]
