"""Which calibration documents a scan takes."""

from __future__ import annotations

import random
from collections.abc import Sequence

from trimllm.data import Document


def sample_of(
    documents: Sequence[Document], count: int | None, seed: int, number: int
) -> list[Document]:
    """The calibration documents of scan `number` of a run: `count` drawn from a pool.

    Every scan draws anew (section 3.3). None takes all, as does a pool that has no more.
    """
    if count is None or count >= len(documents):
        return list(documents)
    return random.Random(f"{seed} scan {number}").sample(list(documents), count)
