"""Splits: test first, then calibration, then training, and never one question in two of them."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence

from trimllm.data.construct import Item


def deduplicate(items: Sequence[Item]) -> tuple[list[Item], int]:
    """The first document of each content hash, and how many others there were."""
    seen: dict[str, Item] = {}
    for item in items:
        seen.setdefault(item.document.hash, item)
    return list(seen.values()), len(items) - len(seen)


def balance(items: Sequence[Item], rng: random.Random, most: int | None = None) -> list[Item]:
    """As many documents of every class: those of the rarest, or `most` where that is fewer."""
    classes: dict[int | None, list[Item]] = defaultdict(list)
    for item in items:
        classes[item.stratum].append(item)
    size = min(len(members) for members in classes.values())
    size = min(size, most) if most else size
    kept = {id(item) for members in classes.values() for item in rng.sample(members, size)}
    return [item for item in items if id(item) in kept]


def in_order(items: Sequence[Item], rng: random.Random) -> list[list[Item]]:
    """Groups in drawn order, so mixed that every prefix holds the classes in equal shares.

    The j-th of n groups of a class goes to the place (j + 1/2) / n of the whole.
    """
    groups: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        groups[item.group].append(item)
    classes: dict[int, list[list[Item]]] = defaultdict(list)
    for members in groups.values():
        stratum = members[0].stratum
        classes[-1 if stratum is None else stratum].append(members)
    placed = []
    for stratum, members in sorted(classes.items()):
        rng.shuffle(members)
        places = ((rank + 0.5) / len(members) for rank in range(len(members)))
        placed += [(place, stratum, group) for place, group in zip(places, members, strict=True)]
    placed.sort(key=lambda entry: entry[:2])
    return [group for _, _, group in placed]


def take(groups: Sequence[list[Item]], size: int | None, without: set[str]) -> list[Item]:
    """The first groups that fit into `size` documents (None: all), skipping those named."""
    taken: list[Item] = []
    for group in groups:
        if group[0].group not in without and (size is None or len(taken) + len(group) <= size):
            taken += group
    return taken
