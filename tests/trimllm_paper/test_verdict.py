"""Verdicts are computed by the rules that their module states."""

import math
import random
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimllm_paper.derive import Accuracy
from trimllm_paper.verdict import (
    COLLAPSED,
    NOT_REPRODUCED,
    NOT_RUN,
    NOT_SEEN,
    REPRODUCED,
    SEEN,
    UNDECIDED,
    all_of,
    gain,
    judge,
    judge_ratio,
    judge_share,
    judge_size,
    judge_speed,
    keeps,
)


def accuracy(percent: float, n: int = 1000, chance: float | None = None) -> Accuracy:
    right = round(percent * n / 100)
    correct = [1] * right + [0] * (n - right)
    random.Random(right).shuffle(correct)
    one = SimpleNamespace(
        **{"task": "sciq", "documents": "documents", "seed": 0, "source": "file.json"},
        **{"n": n, "scores": tuple(correct), "chance": chance, "stand_in": None},
        **{"bytes": 1, "bytes_percent": 100, "kept_percent": 100},
    )
    return Accuracy([one])


def verdict(
    row: str,
    ours: dict[str, float | None],
    theirs: dict[str, float],
    *,
    n: int = 1000,
    chance: float | None = 25.0,
    own: bool = False,
) -> str | None:
    """Verdict of a row, given measured and published accuracies by row."""
    found = {k: None if value is None else accuracy(value, n, chance) for k, value in ours.items()}
    before, full = ((found[name], theirs[name]) for name in ("pretrained", "full_ft"))
    shape = [] if row == "pretrained" else gain(found[row], before[0], theirs[row], before[1])
    if row not in ("pretrained", "full_ft"):
        shape += keeps(found[row], full[0], theirs[row], full[1])
    preserves = None if row in ("pretrained", "full_ft") else found["full_ft"]
    return judge(found[row], theirs[row], shape, own=own, preserves=preserves)[0]


PAPER = {"pretrained": 22.4, "full_ft": 54.6, "trimllm_50": 53.1, "trimllm_30": 45.8}
OURS = {"pretrained": 51.0, "full_ft": 78.0, "trimllm_50": 75.0, "trimllm_30": 68.0}
PRUNED = PAPER | {"llm_pruner": 23.1}  # on MedMCQA, where guessing gets 25
CROSS = {"pretrained": 54.0, "full_ft": 50.0}
SMALL = {"pretrained": 77.4, "full_ft": 82.4, "trimllm_40": 77.6}
TRIMMED = {"pretrained": 60.0, "full_ft": 72.0, "trimllm_40": 71.0}
MODEL = {"pretrained": 23.0, "full_ft": 55.0, "trimllm_50": 48.0}
CHANCE = {"pretrained": 26.0, "full_ft": 27.0, "trimllm_50": 26.5}


@pytest.mark.parametrize(
    ("row", "ours", "theirs", "how", "expected"),
    [
        *((row, OURS, PAPER, {"n": 4000}, SEEN) for row in (*OURS,)[1:]),
        ("pretrained", OURS, PAPER, {}, None),  # it is its own yardstick
        # 82% of Full-FT; of 45.8 of 54.6, 84%, to have lost much, too, is not enough.
        ("trimllm_50", OURS | {"trimllm_50": 64.0}, PAPER, {}, NOT_SEEN),
        ("trimllm_30", OURS | {"trimllm_30": 58.0}, PAPER, {}, NOT_SEEN),
        # An interval that holds both answers decides nothing: 89.7% of Full-FT.
        ("trimllm_50", OURS | {"trimllm_50": 70.0}, PAPER, {}, UNDECIDED),
        ("full_ft", {"pretrained": 50.0, "full_ft": 54.0}, PAPER, {"n": 50}, UNDECIDED),
        ("full_ft", CROSS, PAPER, {"n": 50}, UNDECIDED),
        ("full_ft", CROSS, PAPER, {"n": 5000}, NOT_SEEN),
        # Nor does a column at chance.
        *((row, CHANCE, PAPER, {}, UNDECIDED) for row in (*CHANCE,)[1:]),
        # Without its baselines there is nothing to compare with.
        ("trimllm_50", OURS | {"full_ft": None}, PAPER, {}, NOT_RUN),
        ("full_ft", OURS | {"pretrained": None}, PAPER, {}, NOT_RUN),
        # A difference that the paper cannot resolve is not asked for.
        ("trimllm_40", TRIMMED, SMALL, {}, SEEN),
        ("full_ft", TRIMMED, SMALL | {"full_ft": 78.0}, {}, None),
        # The paper's own model reproduces what its interval holds.
        ("full_ft", MODEL, PAPER, {"own": True}, REPRODUCED),
        ("trimllm_50", MODEL, PAPER, {"own": True}, NOT_REPRODUCED),
        ("trimllm_50", MODEL | {"trimllm_50": 63.0}, PAPER, {"own": True}, NOT_REPRODUCED),
        ("trimllm_50", MODEL | {"trimllm_50": 55.0}, PAPER, {"own": True, "n": 20}, UNDECIDED),
        # Not to lose what the paper loses is not seen.
        ("trimllm_30", OURS | {"trimllm_30": 81.0}, PAPER, {"n": 4000}, NOT_SEEN),
        # At chance it has collapsed, whatever the paper's number, the paper's own model as well.
        ("llm_pruner", OURS | {"llm_pruner": 26.0}, PRUNED, {}, COLLAPSED),
        ("llm_pruner", OURS | {"llm_pruner": 40.0}, PRUNED, {}, SEEN),
        ("llm_pruner", OURS | {"llm_pruner": 26.0}, PRUNED, {"chance": None}, NOT_SEEN),
        *(
            ("trimllm_50", ours | {"trimllm_50": 24.0}, PAPER, {"own": own}, COLLAPSED)
            for ours, own in ((OURS, False), (MODEL, True))
        ),
        # The baselines preserve nothing: they are what others are measured by.
        ("pretrained", MODEL, PAPER, {"own": True}, REPRODUCED),
    ],
)
def test_verdicts_follow_the_papers_relations(
    row: str,
    ours: dict[str, float | None],
    theirs: dict[str, float],
    how: dict[str, Any],
    expected: str | None,
) -> None:
    assert verdict(row, ours, theirs, **how) == expected


@given(st.floats(0, 100), st.floats(0, 100), st.floats(0, 100), st.integers(20, 5000))
def test_a_stand_in_is_never_reproduced(base: float, full: float, trim: float, n: int) -> None:
    ours = {"pretrained": base, "full_ft": full, "trimllm_50": trim}
    for row in ("full_ft", "trimllm_50"):
        allowed = {SEEN, NOT_SEEN, UNDECIDED, COLLAPSED}
        assert verdict(row, ours, PAPER, n=n) in allowed


@given(st.lists(st.sampled_from([True, False, None])))
def test_what_all_hold(answers: list[bool | None]) -> None:
    found = all_of(answers)
    assert (found is False) == (False in answers)
    assert (found is True) == (bool(answers) and all(answers))
    assert all_of([]) is None  # nothing was asked: nothing holds


@pytest.mark.parametrize(
    ("verdict", "expected"),
    [
        *((judge_size(one, ">=50%", own=True), REPRODUCED) for one in (49.0, 50.0, 60.0)),
        *((judge_size(one, ">=50%", own=True), NOT_REPRODUCED) for one in (48.0, 68.0)),
        (judge_size(59.0, ">=50%", own=False), SEEN),
        *((judge_speed(42.3 * one, 42.3), REPRODUCED) for one in (0.86, 1.14)),
        *((judge_speed(42.3 * one, 42.3), NOT_REPRODUCED) for one in (0.5, 1.2)),
        (judge_ratio((2.0, 1.9, 2.1), 2.44), SEEN),
        (judge_ratio((1.1, 0.9, 1.2), 2.44), UNDECIDED),  # the interval holds 1
        (judge_ratio((0.9, 0.8, 0.95), 2.44), NOT_SEEN),
        (judge_ratio((1.3, 1.2, 1.4), 0.7), NOT_SEEN),
        (judge_ratio((0.6, 0.5, 0.7), 0.7), SEEN),
        (judge_ratio((2.0, math.nan, math.nan), 1.75), UNDECIDED),  # one round has no interval
        (judge_ratio((2.0, 1.9, 2.1), 1.03), None),  # the paper shows no difference
        (judge_share([], 40), NOT_RUN),
        *((judge_share([one - 0.1, one, one + 0.1], 40), SEEN) for one in (48.5, 31.5)),
        *((judge_share([one - 0.1, one, one + 0.1], 40), NOT_SEEN) for one in (52, 28)),
        *((judge_share(one, 40), UNDECIDED) for one in ([48.5], [52], [30, 40, 50])),
    ],
)
def test_sizes_speedups_of_stand_ins_and_shares_of_time(
    verdict: tuple[str | None, str], expected: str | None
) -> None:
    assert verdict[0] == expected
