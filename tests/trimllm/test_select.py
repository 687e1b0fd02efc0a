"""Criteria follow the paper's equations, rules its baselines."""

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trimllm.base.errors import UserError
from trimllm.base.names import ANSWER_CRITERION, CRITERIA
from trimllm.scanning import Scan, Scores
from trimllm.select import by_accuracy, by_norm, choose, choose_by_rule, trainable_blocks
from trimllm.sublayers import Unit

BLOCKS = 6
OF_CHOICES = [name for name in CRITERIA if name != ANSWER_CRITERION]
ALL = [Unit(block, kind) for block in range(BLOCKS) for kind in ("attention", "mlp")]


def a_scan(correct: list[int], norm: list[float], likelihood: list[float] | None = None) -> Scan:
    likelihood = likelihood or [-1.0] * len(ALL)
    return Scan(
        20,
        {
            unit: Scores(5.0 * right, likely, size)
            for unit, right, likely, size in zip(ALL, correct, likelihood, norm, strict=True)
        },
    )


scans = st.builds(
    a_scan,
    st.lists(st.integers(0, 20), min_size=12, max_size=12),
    st.lists(st.sampled_from([0.5, 1.0, 2.0, 3.0, 7.0]), min_size=12, max_size=12),
    st.lists(st.floats(-5, 0), min_size=12, max_size=12),
)


def test_scores_follow_the_equations_of_the_paper():
    scan = a_scan([20, 0, 10, *[5] * 9], [2.0, 8.0, 0.0, *[4.0] * 9])
    assert by_accuracy(scan, ALL[0]) == 0
    assert by_accuracy(scan, ALL[1]) == pytest.approx(100 / (1 + 1e-6))
    assert by_accuracy(scan, ALL[2]) == pytest.approx(50 / (1 + 1e-6 + 1.001 * 50))
    assert math.isinf(by_norm(scan, ALL[2]))
    scan = a_scan([1] * 12, [2.0, 8.0, *[4.0] * 10])
    assert by_norm(scan, ALL[0]) == 100 and by_norm(scan, ALL[1]) == 25


# Nothing but the norm tells these apart.
@example(a_scan([10] * 12, [1.0, 2.0, 3.0, 7.0] * 3), "both", 3)
@given(scans, st.sampled_from(OF_CHOICES), st.integers(1, 11))
def test_the_lowest_score_is_dropped_most_accurate_first(scan, criterion, count):
    """The order is told without Eq. 3 and 4: both fall with what they are made of."""
    keys = {
        "calibration": lambda u: -scan.sublayers[u].accuracy,
        "activation_norm": lambda u: -scan.sublayers[u].norm,
        "both": lambda u: (-scan.sublayers[u].accuracy, -scan.sublayers[u].norm),
        "likelihood": lambda u: -scan.sublayers[u].likelihood,
    }
    selection = choose(scan, criterion, count)
    assert list(selection.dropped) == sorted(ALL, key=keys[criterion])[:count]
    assert selection.ties >= 1
    assert selection.margin >= 0
    assert (selection.margin == 0) <= (selection.ties > 1 or criterion == "likelihood")


def test_ties_and_margin_of_a_known_scan():
    scan = a_scan([18, 18, 17, 18, *[10] * 8], [1.0, 9.0, 1.0, 2.0, *[1.0] * 8])
    by_both = choose(scan, "both", 1)
    assert by_both.dropped == (ALL[1],) and by_both.margin == 0
    assert by_both.ties == 3
    # Units that are clearly better than the last one chosen do not tie with it.
    assert choose(scan, "both", 4).ties == 1
    assert choose(scan, "calibration", 1).dropped == (ALL[0],)
    apart = by_accuracy(scan, ALL[2]) - by_accuracy(scan, ALL[1])
    assert choose(scan, "both", 3).margin == pytest.approx(apart) and apart > 0
    assert choose(scan, "activation_norm", 1).margin == pytest.approx(100 / 2 - 100 / 9)
    for count in (0, len(ALL)):
        with pytest.raises(UserError, match=f"cannot drop {count} of {len(ALL)} sublayers"):
            choose(scan, "both", count)


@given(scans, st.sampled_from(["calibration", "both"]), st.sampled_from([1, 0.5, 1 / 3, 0.1]))
def test_exactly_the_most_important_blocks_are_trainable(scan, criterion, ratio):
    chosen = trainable_blocks(scan, criterion, ratio)
    assert len({*chosen}) == math.ceil(round(ratio * BLOCKS, 9)) and chosen == sorted(chosen)
    total = [sum(by_accuracy(scan, u) for u in ALL if u.block == b) for b in range(BLOCKS)]
    left_out = [total[b] for b in range(BLOCKS) if b not in chosen]
    assert not left_out or min(total[b] for b in chosen) >= max(left_out)


def test_ties_between_blocks_go_to_the_smaller_norm_then_the_lower_index():
    scan = a_scan([10] * 12, [1.0] * 6 + [0.5, 0.5] + [1.0] * 4)
    assert trainable_blocks(scan, "both", 1 / 6) == [3]
    assert trainable_blocks(scan, "both", 0.5) == [0, 1, 3]
    assert trainable_blocks(scan, "both", 0.5, {1, 2, 4, 5}) == [1, 2, 4]  # among these
    for ratio in (0, -0.5, 1.01):
        with pytest.raises(UserError, match="not in"):
            trainable_blocks(scan, "both", ratio)


def test_rules_drop_whole_blocks():
    assert {u.block for u in choose_by_rule("top", ALL, 6).dropped} == {3, 4, 5}
    assert {u.block for u in choose_by_rule("bottom", ALL, 6).dropped} == {0, 1, 2}
    drawn = choose_by_rule("random", ALL, 6, seed=4).dropped
    assert drawn == choose_by_rule("random", ALL, 6, seed=4).dropped and len(drawn) == 6
    assert len({choose_by_rule("random", ALL, 6, seed=s).dropped for s in range(9)}) > 1
    for count in (0, 5, 12):
        with pytest.raises(UserError, match="whole blocks"):
            choose_by_rule("top", ALL, count)
