"""Texts that run together: as many as fit, none twice."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from trimllm.train.batching import parts_of


@given(st.lists(st.integers(1, 40), max_size=12), st.integers(1, 120))
def test_a_part_holds_as_many_texts_as_fit(lengths: list[int], tokens: int) -> None:
    batch = ["a" * length for length in lengths]
    parts = [*parts_of(batch, tokens)]
    assert [one for part in parts for one in part] == batch and all(parts)

    def padded(part: Sequence[str]) -> int:
        return len(part) * max(map(len, part))

    assert all(padded(part) <= tokens or len(part) == 1 for part in parts)
    assert all(padded([*a, b[0]]) > tokens for a, b in pairwise(parts))
