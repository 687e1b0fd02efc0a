"""The order in which splits take documents: shuffled, mixed by class, turned by a run's seed."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import TypeVar

from trimllm.data.construct import Item
from trimllm.data.document import Document, bare
from trimllm.data.rows import Row

T = TypeVar("T")
DATA_SEED = 0
"""Seed by which sets are put in order, tests and held-back documents taken, choices drawn."""
GOLDEN = (5**0.5 - 1) / 2
"""Multiples of it, modulo 1, lie far apart, however many there are."""


def _grouped(members: Iterable[T], key: Callable[[T], Hashable]) -> list[list[T]]:
    """Members with one key together, in the order of the first ones."""
    groups: dict[Hashable, list[T]] = defaultdict(list)
    for member in members:
        groups[key(member)].append(member)
    return list(groups.values())


def shuffled(rows: Sequence[Row | Document], rng: random.Random) -> list[Row | Document]:
    """Rows in drawn order, those of one question side by side."""
    drawn = _grouped(
        rows, lambda row: bare(row.prompt if isinstance(row, Document) else row.question)
    )
    rng.shuffle(drawn)
    return [row for group in drawn for row in group]


def deduplicate(items: Sequence[Item]) -> list[Item]:
    """The first document of each content."""
    return [same[0] for same in _grouped(items, Item.content)]


def balance(items: Sequence[Item], rng: random.Random, most: int | None = None) -> list[Item]:
    """As many documents of every class: those of the rarest, or `most` where that is fewer."""
    classes = _grouped(items, lambda item: item.stratum)
    size = min(map(len, classes))
    size = min(size, most) if most else size
    kept = {id(item) for members in classes for item in rng.sample(members, size)}
    return [item for item in items if id(item) in kept]


def in_order(items: Sequence[Item]) -> list[list[Item]]:
    """Groups in the order of their first items, so mixed that every prefix holds the classes in
    equal shares: the j-th of n groups of a class goes to the place (j + 1/2) / n of the whole.
    """
    groups = _grouped(items, lambda item: item.group)
    placed = [
        ((number + 0.5) / len(members), group)
        for members in _grouped(groups, lambda group: group[0].stratum)
        for number, group in enumerate(members)
    ]
    return [group for _, group in sorted(placed, key=lambda entry: entry[0])]


def turned(groups: Sequence[list[Item]], seed: int, without: set[str]) -> list[list[Item]]:
    """The groups that are left, beginning elsewhere for each seed, at the first for `DATA_SEED`.

    Neighbours stay so: wrong choices may come of rows nearby, and every stretch holds the classes
    in equal shares.
    """
    left = [group for group in groups if group[0].group not in without]
    start = int((seed - DATA_SEED) * GOLDEN % 1 * len(left))
    return left[start:] + left[:start]


def take(groups: Sequence[list[Item]], size: int | None, without: set[str]) -> list[Item]:
    """The first groups that fit into `size` documents (None: all), skipping those named."""
    taken: list[Item] = []
    for group in groups:
        if group[0].group not in without and (size is None or len(taken) + len(group) <= size):
            taken += group
    return taken
