"""Comparisons with a bar, Holm's correction, and what follows from several of them."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from trimllm_paper.claims.accuracy import _p_further
from trimllm_paper.claims.evidence import ALPHA, Finding, compare, compare_mean, holm


@pytest.mark.parametrize("dof", [2, float("inf")])
def test_a_comparison_is_sure_when_its_interval_leaves_the_bar(dof: float) -> None:
    def ps(value: float, **bar: float) -> tuple[float, float]:
        one = compare("x", value, (value - 2, value + 3), "points", dof=dof, **bar)
        return one.p_holds, one.p_fails

    assert ps(5, least=3)[0] == pytest.approx(ALPHA) == pytest.approx(ps(5, most=3)[1])
    assert ps(5, least=8)[1] == pytest.approx(ALPHA) == pytest.approx(ps(5, most=8)[0])
    assert ps(5, least=1)[0] < ALPHA < ps(5, least=4)[0] and ps(5, least=4)[1] == 1


def test_one_value_has_no_interval_and_equal_ones_decide() -> None:
    alone = compare_mean("x", [0.1], "", "domains", least=0)
    assert alone.low is None and Finding([alone]).holds is None
    assert Finding([compare_mean("x", [0.1, 0.1], "", "domains", least=0)]).holds is True


def test_failures_among_several_comparisons_are_corrected() -> None:
    """Ten numbers at the bar refute a claim in 2.5% of all cases, and not in 22%."""
    draw = random.Random(0)
    found = []
    for _ in range(2000):
        values = [draw.gauss(0, 1) for _ in range(10)]
        found.append([compare("", v, (v - 1.96, v + 1.96), "", least=0) for v in values])
    alone = sum(any(one.p_fails < ALPHA for one in each) for each in found)
    corrected = sum(False in holm(each) for each in found)
    assert alone / 2000 == pytest.approx(0.22, abs=0.03)
    assert corrected / 2000 == pytest.approx(0.025, abs=0.012)


def test_holm_is_a_step_down_procedure() -> None:
    base = compare("", 0, (0, 0), "", least=1)
    found = [replace(base, p_fails=p) for p in (0.011, 0.5, 0.008, 0.012)]
    assert holm(found) == [None] * 4  # 0.008 > 0.025 / 4
    found[2] = replace(base, p_fails=0.006)
    assert holm(found) == [None, None, False, None]  # 0.011 > 0.025 / 3
    found[0] = replace(base, p_fails=0.008)
    assert holm(found) == [False, None, False, False]  # 0.012 < 0.025 / 2


def test_a_claim_is_refuted_whatever_is_missing_unless_it_is_on_a_mean() -> None:
    good, bad = (compare("", value, (value, value), "", least=1) for value in (2, 0))
    assert Finding([good]).holds is True and Finding([good], missing="x").holds is None
    assert Finding([good, bad], missing="x").holds is False
    assert Finding([bad], missing="x", pooled=True).holds is None
    assert Finding().holds is None


def test_how_surely_one_chain_goes_further() -> None:
    def chain(**p_holds: float) -> dict:
        base = compare("", 0, (0, 0), "", least=1)
        drops = {float(name[1:]): p for name, p in p_holds.items()}
        return {d: replace(base, p_holds=p, p_fails=1 - p) for d, p in drops.items()}

    far, near, none = chain(d30=0, d40=0.01), chain(d30=0, d40=1), chain(d30=1, d40=1)
    assert _p_further(far, near, strictly=True) == 0.01
    assert _p_further(near, far, strictly=True) == 1
    assert _p_further(near, far, strictly=False) == 0.99
    assert _p_further(near, near, strictly=False) == 0 and _p_further(near, near, True) == 1
    assert _p_further(none, none, strictly=False) == 0 and _p_further(none, none, True) == 1
    assert _p_further(near, none, strictly=True) == 0 and _p_further(none, near, False) == 1
