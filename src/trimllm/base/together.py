"""How many texts run together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any


def parts_of(
    batch: Sequence[Any], tokens: int, length: Callable[[Any], int] = len
) -> Iterator[Sequence[Any]]:
    """A batch in parts that hold at most so many tokens when padded, or one text alone; none of an
    empty one."""
    first, longest = 0, 0
    for at, text in enumerate(batch):
        longest = max(longest, length(text))
        if at > first and (at + 1 - first) * longest > tokens:
            yield batch[first:at]
            first, longest = at, length(text)
    if first < len(batch):
        yield batch[first:]
