from __future__ import annotations

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from trimllm.data import Document
from trimllm.data.construct import Item
from trimllm.data.prepare import balance, deduplicate, in_order, take


def item(group: int, variant: int = 0, stratum: int | None = None) -> Item:
    return Item(Document(f"{group}", (f" {variant}", " x"), 0), str(group), stratum)


def test_deduplicate_keeps_the_first():
    items = [item(1), item(2), item(1), item(1, variant=1)]
    assert deduplicate(items) == [items[0], items[1], items[3]]


def test_balance():
    items = [item(i, stratum=0 if i < 9 else 1) for i in range(12)]
    kept = balance(items, random.Random(0))
    assert Counter(i.stratum for i in kept) == {0: 3, 1: 3}
    assert Counter(i.stratum for i in balance(items, random.Random(0), most=2)) == {0: 2, 1: 2}


def test_every_prefix_holds_classes_in_equal_shares():
    items = [item(i, stratum=i % 3 == 0) for i in range(90)]
    ordered = [i for group in in_order(items, random.Random(0)) for i in group]
    for size in range(3, 91, 3):
        assert abs(sum(i.stratum for i in ordered[:size]) - size / 3) <= 1


@given(
    groups=st.lists(st.integers(0, 20), min_size=1, max_size=60),
    test=st.integers(0, 30),
    calibration=st.integers(0, 20),
    seed=st.integers(0, 3),
)
def test_no_question_stands_in_two_splits(groups, test, calibration, seed):
    items = [item(group, variant) for variant, group in enumerate(groups)]
    order = in_order(items, random.Random(seed))
    tested = take(order, test, set())
    used = {i.group for i in tested}
    calibrated = take(order, calibration, used)
    used |= {i.group for i in calibrated}
    trained = take(order, None, used)
    splits = [{i.group for i in part} for part in (tested, calibrated, trained)]
    assert not (splits[0] & splits[1] or splits[0] & splits[2] or splits[1] & splits[2])
    assert len(tested) <= test
    assert len(calibrated) <= calibration
    assert len(tested) + len(calibrated) + len(trained) == len(items)
