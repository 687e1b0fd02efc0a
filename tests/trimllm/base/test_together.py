"""Texts that run together: as many as fit, none twice."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from trimllm.base.together import ANSWERS_AT_ONCE, parts_of, together


@given(st.lists(st.integers(1, 40), max_size=12), st.integers(1, 120))
def test_a_part_holds_as_many_texts_as_fit(lengths: list[int], tokens: int) -> None:
    batch = ["a" * length for length in lengths]
    parts = [*parts_of(batch, tokens)]
    assert [one for part in parts for one in part] == batch and all(parts)

    def padded(part: Sequence[str]) -> int:
        return len(part) * max(map(len, part))

    assert all(padded(part) <= tokens or len(part) == 1 for part in parts)
    assert all(padded([*a, b[0]]) > tokens for a, b in pairwise(parts))
    assert [*parts_of(lengths, tokens, lambda length: length)] == [
        [len(one) for one in part] for part in parts
    ]


@given(st.integers(0, 5000), st.integers(1, 100_000))
def test_answers_at_once_fit_the_budget_or_are_one(longest: int, budget: int) -> None:
    found = together(longest, budget)
    assert 1 <= found <= ANSWERS_AT_ONCE
    assert found == 1 or found * longest <= budget
    assert found == ANSWERS_AT_ONCE or (found + 1) * max(1, longest) > budget
