"""Numbers made of others: accuracies pooled by documents, what went by a tie, costs, durations."""

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from result_files import Evaluations, plain_chain, write_chain, write_training

from trimllm_paper import derive
from trimllm_paper.derive import accuracy, nearest
from trimllm_paper.frames import Frame
from trimllm_paper.intervals import Spread, accuracy_interval, wilson

# ---- accuracies


def test_a_column_of_several_tasks_is_weighted_by_documents(evaluations: Evaluations) -> None:
    evaluations.add("full_ft", 80, task="a", n=300)
    evaluations.add("full_ft", 40, task="b", n=100)
    found = accuracy(Frame.of(evaluations.paths), "tiny", "sciq", "full_ft", ["a", "b"])
    assert found.percent == pytest.approx((300 * 80 + 100 * 40) / 400)
    assert found.n == 400
    assert found.ci95 == wilson(280, 400) and found.documents == 400
    assert found.chance == pytest.approx(25)
    assert [Path(source).name for source in found.sources] == ["a.json", "b.json"]


def test_seeds_are_pooled_where_each_has_every_task(tmp_path: Path) -> None:
    """The third seed lacks a task; the seeds' checkpoints kept other units."""
    paths = []
    for seed, kept in ((0, 30), (1, 27), (2, 60)):
        one = Evaluations(tmp_path / str(seed))
        one.add("full_ft", 60 + 10 * seed, task="a", seed=seed, kept=kept, weight_bytes=10**8)
        if seed < 2:
            one.add("full_ft", 80, task="b", seed=seed, kept=kept, weight_bytes=2 * 10**8)
        paths += one.paths
    found = accuracy(Frame.of(paths), "tiny", "sciq", "full_ft", ["b", "a"])
    assert [(t.seed, t.task) for t in found.tasks] == [(0, "b"), (0, "a"), (1, "b"), (1, "a")]
    assert found.by_seed == {0: 70, 1: 75} and found.deviation == pytest.approx(12.5**0.5)
    assert found.kept_percent == 47.5 and found.megabytes == 200
    assert found.bytes_percent == pytest.approx(100 * 2 / 2.69)
    alone = accuracy(Frame.of(paths), "tiny", "sciq", "full_ft", ["a"])
    assert list(alone.by_seed.values()) == [60, 70, 80] and alone.deviation == 10
    # 200 documents under three seeds, whose spread of 10 points is most of the interval: t = 4.3.
    assert (alone.n, alone.documents) == (600, 200)
    assert alone.percent - alone.ci95[0] == pytest.approx(4.303 * 10 / 3**0.5, abs=1)


def test_seed_variance_is_pooled_over_the_checkpoints_of_a_recipe(tmp_path: Path) -> None:
    """Two checkpoints of three seeds give four degrees of freedom; a cell of one seed has them."""
    paths = []
    for seed, (first, second) in enumerate(((60, 50), (62, 58), (64, 54))):
        one = Evaluations(tmp_path / str(seed))
        one.add("trim_paper/drop_30", first, seed=seed)
        one.add("trim_paper/drop_36", second, seed=seed, domain="piqa")
        one.add("pretrained", 50, seed=seed)
        one.add("full_ft", 70 if seed else 71, seed=seed)
        paths += one.paths
    paths.append(Evaluations(tmp_path / "0").add("trim_paper/drop_42", 55, seed=0))
    frame = Frame.of(paths)
    variances = derive.seed_variances(frame)
    assert variances["tiny", "paper"] == pytest.approx(((4 + 16) / 2 / 1e4, 4))
    assert variances["tiny", "pretrained"] == (0, 2)
    cell, base, full, single = (
        accuracy(frame, "tiny", "sciq", recipe, ["sciq"])
        for recipe in ("trim_paper/drop_30", "pretrained", "full_ft", "trim_paper/drop_42")
    )
    # t of four degrees of freedom is 2.776; documents are added in squares.
    for found, seeds in ((cell, 3), (single, 1)):
        documents = found.percent - accuracy_interval([*found.answers.values()], Spread(0, 4))[0]
        half = math.hypot(documents, 2.776 * (10 / seeds) ** 0.5)
        assert found.percent - found.ci95[0] == pytest.approx(half, abs=0.01)
    # Of a difference both variances count; one that is zero has no degrees of freedom.
    assert cell.minus(base).dof == 4 and cell.minus(full).dof == full.minus(base).dof == 2


def test_of_unequal_seeds_those_that_both_have_are_paired(tmp_path: Path) -> None:
    """What else the one has moves neither the difference nor its interval."""
    files = [Evaluations(tmp_path / str(seed)) for seed in range(3)]
    for seed, one in enumerate(files):
        one.add("full_ft", 60 + 10 * seed, seed=seed)
    files[1].add("trim_paper/drop_30", 50, seed=1, kept=30)
    paths = [path for one in files for path in one.paths]
    full, trimmed = (
        accuracy(Frame.of(paths), "tiny", "sciq", name, ["sciq"])
        for name in ("full_ft", "trim_paper/drop_30")
    )
    alone = accuracy(Frame.of(files[1].paths), "tiny", "sciq", "full_ft", ["sciq"])
    for share in (1.0, 0.9):
        assert trimmed.minus(full, share) == trimmed.minus(alone, share)
        assert trimmed.minus(full, share).points == pytest.approx(50 - share * 70)
    assert trimmed.minus(full).paired and trimmed.minus(full).seeds == 1
    assert full.minus(trimmed).points == pytest.approx(20)


def test_a_kept_fraction_finds_its_checkpoint(evaluations: Evaluations) -> None:
    for dropped in (30, 36):
        evaluations.add(f"trim_paper/drop_{dropped}", 60, kept=60 - dropped)
        evaluations.add(f"trim_paper/drop_{dropped}+awq_int4", 60, kept=60 - dropped)
        evaluations.add(f"trim_both_r0.5/drop_{dropped}", 60, kept=60 - dropped)
    results = Frame.of(evaluations.paths)

    def recipe(kept: float, name: str = "paper") -> str | None:
        return nearest(results, "tiny", "sciq", name, kept)

    assert recipe(50) == "trim_paper/drop_30"
    assert recipe(40) == "trim_paper/drop_36"
    assert recipe(41) == "trim_paper/drop_36"  # 24.6 units: the next whole number
    assert recipe(45) is None  # nobody trimmed to 27 units
    assert recipe(30) is None  # one step away: another checkpoint, not this one
    assert recipe(50, "both_r0.5") == "trim_both_r0.5/drop_30"
    assert recipe(50, "ours") is None


# ---- costs


@given(st.integers(2, 100), st.integers(1, 6), st.data())
def test_cost_is_what_a_simulated_run_trains(units: int, step: int, data: st.DataObject) -> None:
    epochs = data.draw(st.integers(0, (units - 1) // step))
    left, trained = units, 0
    for _ in range(epochs):
        trained += left
        left -= step
    assert derive.progressive(units, epochs * step, step) == pytest.approx(trained / units)


def test_training_time_is_a_share_of_full_fine_tuning(tmp_path: Path) -> None:
    """Full: 0.04 s a token, sparse 0.03; the chain's epochs 0.02 each, their scans half of that."""
    epochs = write_chain(tmp_path, plain_chain())
    trainings = [write_training(tmp_path, *one) for one in (("sparse_ft", 3.0), ("full_ft", 4.0))]
    # Full fine-tuning of another domain, or of another seed's folder, is no measure of it.
    trainings.append(write_training(tmp_path, "full_ft", 9.0, domain="piqa"))
    trainings.append(write_training(tmp_path / "z", "full_ft", 9.0, seed=1))
    place = (Frame.of(epochs=epochs, trainings=trainings), "tiny", "sciq")
    times = derive.training_time(*place, "paper", 3)
    assert [*times.share] == pytest.approx([50]) and [*times.scans] == pytest.approx([25])
    assert [*derive.training_time(*place, "sparse_ft", 8).share] == pytest.approx([75])
    assert derive.training_time(*place, "paper", 4).empty  # a chain is not extended
    without = derive.training_time(Frame.of(epochs=epochs), "tiny", "sciq", "paper", 3)
    assert without.minutes.notna().all() and without.share.isna().all()


def test_an_epoch_with_nothing_left_to_train_takes_no_time(tmp_path: Path) -> None:
    """As where all units of the blocks that are trained were dropped."""
    epochs = plain_chain()
    epochs[-1]["training"] |= {"tokens": 0, "seconds": 0.0}
    epochs[-1]["seconds"] |= {"train": 0.0}
    paths = write_chain(tmp_path, epochs)
    frame = Frame.of(epochs=paths, trainings=[write_training(tmp_path, "full_ft", 4.0)])
    place = (frame, "tiny", "sciq")
    times = derive.training_time(*place, "paper", 3)
    assert [*times.share, *times.scans] == pytest.approx([100 * 1.0 / 3, 25])
