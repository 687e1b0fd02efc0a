"""The rules for throughput."""

from __future__ import annotations

import pytest

from trimllm_paper.tables.speeds import judge_relation, judge_speed


@pytest.mark.parametrize(
    "measured, printed, own, verdict",
    [
        (None, 42.3, True, "not run"),
        (42.3, None, True, None),
        (10.0, 42.3, False, None),
        (42.3 * 1.14, 42.3, True, "reproduced"),
        (42.3 * 0.86, 42.3, True, "reproduced"),
        (42.3 * 1.2, 42.3, True, "not reproduced"),
        (20.0, 42.3, True, "not reproduced"),
    ],
)
def test_own_cells(measured: float | None, printed: float, own: bool, verdict: str) -> None:
    assert judge_speed(measured, printed, own=own)[0] == verdict


@pytest.mark.parametrize(
    "ratio, spread, printed, verdict",
    [
        (2.0, (1.9, 2.1), 2.44, "shape only"),
        (1.1, (0.9, 1.2), 2.44, "not reproduced"),  # the quartiles hold 1
        (0.9, (0.8, 0.95), 2.44, "not reproduced"),
        (0.6, (0.5, 0.7), 0.7, "shape only"),
        (2.0, None, 1.75, "shape only"),
        (2.0, (1.9, 2.1), 1.03, None),  # the paper shows no difference
        (2.0, (1.9, 2.1), None, None),
    ],
)
def test_stand_ins(
    ratio: float, spread: tuple[float, float] | None, printed: float | None, verdict: str | None
) -> None:
    assert judge_relation(ratio, spread, printed)[0] == verdict
