"""Verdicts are computed by the rules that their module states."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimllm_paper.measured import Accuracy, Measurement
from trimllm_paper.verdict import (
    NOT_REPRODUCED,
    NOT_RUN,
    REPRODUCED,
    SHAPE_ONLY,
    Anchors,
    judge,
    judge_size,
    relations,
)


def accuracy(percent: float, n: int = 1000) -> Accuracy:
    right = round(percent * n / 100)
    correct = [1] * right + [0] * (n - right)
    random.Random(right).shuffle(correct)
    one = Measurement(
        *("tiny", "sciq", "recipe", "sciq", tuple(correct), "documents"),
        *(None, None, None, None, None, None, {}, "file.json"),
    )
    return Accuracy((one,))


def verdict(
    row: str, ours: dict[str, float | None], theirs: dict[str, float], **how: object
) -> str:
    """Verdict of a row, given measured and published accuracies by row."""
    n = how.get("n", 1000)
    found = {key: None if value is None else accuracy(value, n) for key, value in ours.items()}
    anchors = Anchors(
        found["pretrained"], found["full_ft"], theirs["pretrained"], theirs["full_ft"]
    )
    shape = relations(row, found[row], theirs[row], anchors)
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
