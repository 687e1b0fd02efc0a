"""What would decide a claim on the paper's own model is told for each, with its cost."""

from __future__ import annotations

import pytest

from trimllm_paper import layout, published
from trimllm_paper.claims import cost
from trimllm_paper.config.load import PROJECT, load, read_yaml
from trimllm_paper.context import Context


def test_every_claim_has_runs_of_tables_that_there_are() -> None:
    assert cost.RUNS.keys() == {one["id"] for one in published.claims()}
    known = layout.tables(Context.of(load(read_yaml(PROJECT / cost.CONFIG), [])))
    assert all({*tables} <= {*known} for tables, _ in cost.RUNS.values())
    assert cost.told("no_such_claim") == ""


@pytest.mark.parametrize("claim", cost.RUNS)
def test_what_decides_it_is_named_with_hours(claim: str) -> None:
    told = cost.told(claim)
    assert all(table in told for table in cost.RUNS[claim][0])
    assert cost.CONFIG in told and told.endswith("GPU-hours") and "about 0 " not in told


def test_shared_jobs_are_counted_once_and_more_tables_cost_more() -> None:
    one, other, both = (cost.hours(t) for t in (("table2",), ("table4",), ("table2", "table4")))
    assert max(one, other) <= both < one + other
    # One domain without evaluations, of five with them.
    assert 0 < cost.hours(("table9",)) < one / 3
