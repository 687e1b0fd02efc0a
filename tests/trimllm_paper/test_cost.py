"""Eq. 5 and 6 of the paper, and wall clocks on the same scale."""

from __future__ import annotations

from pathlib import Path

import pytest
from chain_files import plain_chain, write_chain, write_training
from hypothesis import given
from hypothesis import strategies as st

from trimllm.base.errors import UserError
from trimllm.base.files import read_json, write_json
from trimllm_paper import cost
from trimllm_paper.chains import read_chain


def test_the_papers_numbers() -> None:
    assert cost.SPARSE_FACTOR * cost.progressive(64, 32, 2) == pytest.approx(7.35)
    assert cost.progressive(64, 32, 1) == pytest.approx((64 * 32 - 31 * 32 / 2) / 64)


@given(st.integers(2, 100), st.integers(1, 6), st.data())
def test_cost_is_what_a_simulated_run_trains(units: int, step: int, data: st.DataObject) -> None:
    epochs = data.draw(st.integers(0, (units - 1) // step))
    left, trained = units, 0
    for _ in range(epochs):
        trained += left
        left -= step
    assert cost.progressive(units, epochs * step, step) == pytest.approx(trained / units)


@pytest.mark.parametrize("dropped, step", [(3, 2), (64, 2), (-2, 2)])
def test_impossible_drops_are_refused(dropped: int, step: int) -> None:
    with pytest.raises(ValueError, match="cannot go"):
        cost.progressive(64, dropped, step)


def test_measured_cost(tmp_path: Path) -> None:
    """Full: 0.04 s a token, sparse 0.03; the chain's epochs 0.02 each, their scans half of that."""
    chain = read_chain(write_chain(tmp_path, plain_chain()))
    full, sparse = (
        read_json(write_training(tmp_path, *one)) for one in (("full_ft", 4.0), ("sparse_ft", 3.0))
    )
    found = cost.measure(chain, full, sparse)
    assert found.dropped_percent == (0, 25, 50)
    assert found.training == pytest.approx((0.5, 1.0, 1.5))
    assert found.with_scans == pytest.approx((0.75, 1.5, 2.25))
    assert (found.sparse_factor, found.factor) == pytest.approx((0.75, 0.5))


def test_a_domain_without_full_fine_tuning_has_no_cost(tmp_path: Path) -> None:
    chains = [read_chain(write_chain(tmp_path, plain_chain()))]
    sparse = write_training(tmp_path, "sparse_ft", 3.0)
    assert cost.measured(chains, [sparse]) == {}
    full = write_training(tmp_path, "full_ft", 4.0)
    assert set(cost.measured(chains, [sparse, full])) == {("sciq", "both")}


def test_a_training_without_passes_is_refused(tmp_path: Path) -> None:
    path = write_training(tmp_path, "full_ft", 1.0)
    path.write_text('{"passes": []}')
    with pytest.raises(UserError, match="no training pass"):
        cost.read_training([path])


def test_a_training_that_was_made_faster_by_hand_is_refused(tmp_path: Path) -> None:
    path = write_training(tmp_path, "full_ft", 1.0)
    assert cost.read_training([path])["tiny", "sciq", "full_ft"]["passes"][1]["seconds"] == 1.0
    content = read_json(path)
    content["passes"][1]["seconds"] = 0.5
    write_json(path, content)
    with pytest.raises(UserError, match=r"training\.json was changed after it was written"):
        cost.read_training([path])
