"""Comparisons with a bar, Holm's correction, and what follows from several of them."""

from dataclasses import replace

import pytest

from trimllm_paper.claims.evidence import ALPHA, Estimate, Finding, compare, holm


def exact(value: float, least: float = 1):
    return compare("", Estimate(value, value, value), "", least)


@pytest.mark.parametrize("dof", [2, float("inf")])
def test_a_comparison_is_sure_when_its_interval_leaves_the_bar(dof: float) -> None:
    def ps(bar: float, **more: bool) -> tuple[float, float]:
        one = compare("x", Estimate(5, 3, 8, dof=dof), "points", bar, **more)
        return one.p_holds, one.p_fails

    assert ps(3)[0] == pytest.approx(ALPHA) == pytest.approx(ps(3, at_most=True)[1])
    assert ps(8)[1] == pytest.approx(ALPHA) == pytest.approx(ps(8, at_most=True)[0])
    assert ps(1)[0] < ALPHA < ps(4)[0] and ps(4)[1] == 1


@pytest.mark.parametrize(
    "p_fails, expected",
    [
        ((0.011, 0.5, 0.008, 0.012), [None] * 4),  # 0.008 > 0.025 / 4
        ((0.011, 0.5, 0.006, 0.012), [None, None, False, None]),  # 0.011 > 0.025 / 3
        ((0.008, 0.5, 0.006, 0.012), [False, None, False, False]),  # 0.012 < 0.025 / 2
    ],
)
def test_holm_is_a_step_down_procedure(p_fails: tuple[float, ...], expected: list) -> None:
    assert holm([replace(exact(0), p_fails=p) for p in p_fails]) == expected


def test_a_claim_is_refuted_whatever_is_missing_unless_it_is_on_a_mean() -> None:
    good, bad = exact(2), exact(0)
    assert Finding([good]).holds is True and Finding([good], missing=["x"]).holds is None
    assert Finding([good, bad], missing=["x"]).holds is False
    assert Finding([bad], missing=["x"], pooled=True).holds is None
    assert Finding().holds is None
