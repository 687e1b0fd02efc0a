"""What would decide a claim on the paper's own model is told for each, with its cost."""

from __future__ import annotations

import pytest

from trimllm.engines.formats import COMPRESSED
from trimllm_paper import cost, layout, published
from trimllm_paper.config.load import PROJECT, load, read_yaml
from trimllm_paper.context import Context
from trimllm_paper.cost import Run


def test_every_claim_has_runs_of_tables_that_there_are() -> None:
    assert cost.RUNS.keys() == {one["id"] for one in published.claims()}
    known = layout.tables(Context.of(load(read_yaml(PROJECT / cost.CONFIG), [])))
    every = [*cost.RUNS.values(), *cost.TABLES.values()]
    assert all({*run.tables} <= {*known} for run in every)
    assert cost.TABLES.keys() == {*published.tables()}
    assert cost.told("no_such_claim") == "" == cost.of_table("table_engines")


@pytest.mark.parametrize("claim", cost.RUNS)
def test_what_decides_it_is_named_with_hours(claim: str) -> None:
    told = cost.told(claim)
    assert all(table in told for table in cost.RUNS[claim].tables)
    assert cost.CONFIG in told and told.endswith("GPU-hours") and "about 0 " not in told


def test_shared_jobs_are_counted_once_and_more_tables_cost_more() -> None:
    one, other, both = (
        cost.hours(Run(t)) for t in (("table2",), ("table4",), ("table2", "table4"))
    )
    assert max(one, other) <= both < one + other
    # Trainings without evaluations; those of one domain of five, three times.
    trained = cost.hours(Run(("table9",)))
    assert 0 < trained < one
    assert 0 < cost.hours(Run(("table9",), domain="sciq", times=3)) < 3 * trained / 4


def test_each_machine_has_hours_of_its_own() -> None:
    kinds = cost.RUNS["speedup_consumer"].kinds
    each = [cost.hours(Run(("table1",), kinds=(kind,))) for kind in kinds]
    assert cost.hours(cost.RUNS["speedup_consumer"]) == pytest.approx(sum(each))
    assert all(one > cost.hours(cost.RUNS["speedup_a100"]) for one in each)


def test_engines_are_timed_and_what_they_load_is_made() -> None:
    config = cost._config()
    jobs = {*cost._jobs("table_engines", config)}
    made = {job.rule for job in jobs}
    assert made >= {"engines", "export", "compress", "full_ft", "trim_epoch", "settle_kept"}
    timed = {(str(job.place.recipe), job.file) for job in jobs if job.rule == "engines"}
    kept = len(config.engines.kept_percent or config.trim.kept_percent)
    formats = [
        x for x in config.engines.formats if x not in COMPRESSED or x in config.compress.methods
    ]
    assert len(timed) == (1 + kept) * len(formats)


@pytest.mark.parametrize("table", cost.TABLES)
def test_what_decides_the_cells_of_a_table_is_named_with_hours(table: str) -> None:
    told = cost.of_table(table)
    assert table in told and told.endswith("GPU-hours") and "about 0 " not in told
    assert ("OPT-1.3B and OPT-6.7B" if table == "table8" else "LLaMA-7B") in told
