"""Verdicts are computed by the rules that their module states."""

from __future__ import annotations

import random
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimllm_paper.derive import Accuracy
from trimllm_paper.verdict import (
    NOT_REPRODUCED,
    NOT_RUN,
    REPRODUCED,
    SHAPE_ONLY,
    judge,
    judge_longest,
    judge_relation,
    judge_share,
    judge_size,
    judge_speed,
    relations,
)


def accuracy(percent: float, n: int = 1000) -> Accuracy:
    right = round(percent * n / 100)
    correct = [1] * right + [0] * (n - right)
    random.Random(right).shuffle(correct)
    one = SimpleNamespace(
        **{"task": "sciq", "documents": "documents", "seed": 0, "source": "file.json"},
        **{"n": n, "right": right, "correct": tuple(correct), "chance": None, "stand_in": None},
        **{"bytes": 1, "bytes_percent": 100, "kept_percent": 100},
    )
    return Accuracy([one])


def verdict(
    row: str, ours: dict[str, float | None], theirs: dict[str, float], **how: object
) -> str:
    """Verdict of a row, given measured and published accuracies by row."""
    n = how.get("n", 1000)
    found = {key: None if value is None else accuracy(value, n) for key, value in ours.items()}
    baselines = ([of["pretrained"], of["full_ft"]] for of in (found, theirs))
    shape = relations(row, found[row], theirs[row], *baselines)
    return judge(found[row], theirs[row], shape, own=bool(how.get("own")))[0]


PAPER = {"pretrained": 22.4, "full_ft": 54.6, "trimllm_50": 53.1, "trimllm_30": 45.8}
OURS = {"pretrained": 51.0, "full_ft": 78.0, "trimllm_50": 74.0, "trimllm_30": 62.0}


@pytest.mark.parametrize("row", ["pretrained", "full_ft", "trimllm_50", "trimllm_30"])
def test_a_stand_in_with_the_papers_relations_shows_the_shape(row: str) -> None:
    assert verdict(row, OURS, PAPER) == SHAPE_ONLY


def test_losing_more_than_the_paper_is_not_the_shape() -> None:
    assert verdict("trimllm_50", {**OURS, "trimllm_50": 69.0}, PAPER) == NOT_REPRODUCED  # 88%


def test_a_column_at_chance_shows_nothing() -> None:
    ours = {"pretrained": 26.0, "full_ft": 27.0, "trimllm_50": 26.5}
    for row in ours:
        assert verdict(row, ours, PAPER) == NOT_REPRODUCED


def test_a_gain_within_the_noise_of_few_documents_does_not_count() -> None:
    ours = {"pretrained": 50.0, "full_ft": 54.0}
    assert verdict("full_ft", ours, PAPER, n=50) == NOT_REPRODUCED


def test_missing_baselines_leave_nothing_to_compare_with() -> None:
    assert verdict("trimllm_50", {**OURS, "full_ft": None}, PAPER) == NOT_RUN
    assert verdict("full_ft", {**OURS, "pretrained": None}, PAPER) == NOT_RUN


def test_a_difference_that_the_paper_cannot_resolve_is_not_asked_for() -> None:
    theirs = {"pretrained": 77.4, "full_ft": 82.4, "trimllm_40": 77.6}
    ours = {"pretrained": 60.0, "full_ft": 72.0, "trimllm_40": 71.0}
    assert verdict("trimllm_40", ours, theirs) == SHAPE_ONLY


def test_the_papers_own_model_reproduces_what_its_interval_holds() -> None:
    ours = {"pretrained": 23.0, "full_ft": 55.0, "trimllm_50": 48.0}
    assert verdict("full_ft", ours, PAPER, own=True) == REPRODUCED
    assert verdict("trimllm_50", ours, PAPER, own=True) == NOT_REPRODUCED  # 87% of Full-FT
    shifted = {"pretrained": 23.0, "full_ft": 65.0, "trimllm_50": 63.0}
    assert verdict("trimllm_50", shifted, PAPER, own=True) == SHAPE_ONLY


def test_a_handful_of_documents_reproduces_nothing() -> None:
    ours = {"pretrained": 20.0, "full_ft": 55.0, "trimllm_50": 55.0}
    assert verdict("trimllm_50", ours, PAPER, own=True, n=20) != REPRODUCED


@given(st.floats(0, 100), st.floats(0, 100), st.floats(0, 100), st.integers(20, 5000))
def test_a_stand_in_is_never_reproduced(base: float, full: float, trim: float, n: int) -> None:
    ours = {"pretrained": base, "full_ft": full, "trimllm_50": trim}
    for row in ours:
        assert verdict(row, ours, PAPER, n=n) in {SHAPE_ONLY, NOT_REPRODUCED, NOT_RUN}


def test_nothing_published_or_nothing_measured() -> None:
    assert judge(None, 50.0, [], own=True) == (NOT_RUN, "")
    assert judge(accuracy(50), None, [], own=True) == (None, "")


@pytest.mark.parametrize(
    ("measured", "own", "expected"),
    [
        (50.0, True, REPRODUCED),
        (50.0, False, SHAPE_ONLY),
        (59.0, False, SHAPE_ONLY),
        (48.0, True, NOT_REPRODUCED),
        (68.0, True, NOT_REPRODUCED),
        (None, True, NOT_RUN),
    ],
)
def test_sizes(measured: float | None, own: bool, expected: str) -> None:
    assert judge_size(measured, ">=50%", own=own)[0] == expected


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
def test_own_speeds(measured: float | None, printed: float, own: bool, verdict: str) -> None:
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
def test_speedups_of_stand_ins(
    ratio: float, spread: tuple[float, float] | None, printed: float | None, verdict: str | None
) -> None:
    assert judge_relation(ratio, spread, printed)[0] == verdict


def test_shares_of_time() -> None:
    assert judge_share(None, 40)[0] == NOT_RUN
    assert judge_share(49, 40)[0] == judge_share(31, 40)[0] == SHAPE_ONLY
    assert judge_share(51, 40)[0] == NOT_REPRODUCED
    assert judge_longest(20, [12.0, 8.0])[0] == SHAPE_ONLY
    assert judge_longest(20, [12.0, 21.0])[0] == NOT_REPRODUCED
    assert judge_longest(20, [12.0, None])[0] == NOT_RUN
