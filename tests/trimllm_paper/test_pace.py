"""What is left of a run: by the plan before anything is done, by its own pace after most of it."""

from __future__ import annotations

import pytest
from configurations import configuration
from hypothesis import given
from hypothesis import strategies as st

from trimllm_paper import estimate
from trimllm_paper.pace import Pace, Planned, pace_of
from trimllm_paper.recipe import place_of

CHAIN = "results/models/smollm2-135m/sciq/trim_paper"
SECONDS = st.dictionaries(st.integers(0, 50), st.floats(0.1, 1e4), min_size=1)


@given(SECONDS, st.floats(0.1, 1), st.data())
def test_a_run_that_goes_as_planned_is_told_so(
    seconds: dict[int, float], share: float, data: st.DataObject
) -> None:
    """`share`: of a core's time, the wall clock's."""
    whole = sum(seconds.values())
    pace = Pace(seconds, share * whole)
    done = data.draw(st.sets(st.sampled_from(sorted(seconds))))
    spent = share * sum(seconds[one] for one in done)
    assert pace.left(done, spent) == pytest.approx(share * whole - spent, abs=1e-6 * whole)
    assert pace.left(seconds, data.draw(st.floats(0, 1e9))) == pytest.approx(0, abs=1e-6 * whole)


def test_a_slow_machine_shows_after_the_first_jobs() -> None:
    pace = Pace(dict.fromkeys(range(100), 60.0), 6000.0)
    assert pace.left([0], 180) == pytest.approx(5940 * (180 + 300) / (60 + 300))
    assert pace.left(range(50), 9000) == pytest.approx(9000, rel=0.1)
    assert pace.left(range(90), 3 * 5400) == pytest.approx(3 * 600, rel=0.05)


def test_short_jobs_before_long_ones_promise_nothing() -> None:
    """By their number 1 of 11 jobs done in a minute would leave ten minutes."""
    pace = Pace({0: 60.0, **dict.fromkeys(range(1, 11), 600.0)}, 6060.0)
    assert pace.left([0], 60) == pytest.approx(6000)


def test_a_run_without_jobs_has_nothing_left() -> None:
    assert Pace({}, 0.0).left([], 5) == 0


def test_jobs_that_wait_for_each_other_are_as_long_as_all_of_them() -> None:
    config = configuration("smoke")
    paths = [f"{CHAIN}/{name}/epoch.json" for name in ("state_00", "state_15", "state_30")]
    known = estimate.Estimate(config)
    each = [
        known.seconds(estimate.Job("trim_epoch", place_of(path), tasks=("",))) for path in paths
    ]
    jobs = {
        number: Planned("trim_epoch", [path], [number - 1]) for number, path in enumerate(paths)
    }
    chain = pace_of(config, jobs, 2)
    assert chain.seconds == pytest.approx(dict(enumerate(each)))
    assert each[0] > each[1] > each[2] > 0 and chain.wall == pytest.approx(sum(each))
    alone = {number: Planned(job.rule, job.results, []) for number, job in jobs.items()}
    assert pace_of(config, alone, 1).wall == pytest.approx(sum(each))
    assert pace_of(config, alone, 2).wall == pytest.approx(max(each[0], sum(each) / 2))
    assert pace_of(config, alone, None).wall == pytest.approx(each[0])


def test_jobs_without_results_of_a_model_count_too() -> None:
    jobs = {
        3: Planned("render_table", ["results/tables/table2.csv", "results/tables/table2.md"], [4]),
        4: Planned("prepare_sciq", ["results/data/sciq/report.json"], []),
        5: Planned("all", [], [3]),
    }
    found = pace_of(configuration("smoke"), jobs, 1)
    assert set(found.seconds) == {3, 4, 5} and all(one > 0 for one in found.seconds.values())
    assert found.wall == pytest.approx(sum(found.seconds.values()))
