from __future__ import annotations

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from trimllm.data import Document
from trimllm.data.construct import Item
from trimllm.data.rows import Row
from trimllm.data.split import balance, deduplicate, in_order, shuffled, take, turned


def item(group: int, variant: int = 0, stratum: int | None = None) -> Item:
    return Item(Document(f"{group}", (f" {variant}", " x"), 0), str(group), stratum)


def test_duplicates_and_classes():
    items = [item(1), item(2), item(1), item(1, variant=1)]
    assert deduplicate(items) == [items[0], items[1], items[3]]
    items = [item(i, stratum=0 if i < 9 else 1) for i in range(12)]
    for most, size in ((None, 3), (2, 2)):
        kept = balance(items, random.Random(0), most)
        assert Counter(i.stratum for i in kept) == {0: size, 1: size}


def test_every_seed_begins_elsewhere_with_classes_in_equal_shares():
    items = [item(i, stratum=i % 3 == 0) for i in range(90)]
    groups = in_order(items)
    for size in range(3, 91, 3):
        assert abs(sum(group[0].stratum for group in groups[:size]) - size / 3) <= 1
    without = {groups[3][0].group, groups[50][0].group}
    left = [group for group in groups if group[0].group not in without]
    orders = [turned(groups, seed, without) for seed in range(8)]
    starts = sorted(left.index(one[0]) for one in orders)
    assert min(b - a for a, b in zip(starts, starts[1:], strict=False)) >= 5
    for one in orders:  # neighbours stay so
        at = one.index(left[0])
        assert one[at:] + one[:at] == left == orders[0]
        assert abs(sum(group[0].stratum for group in one[:30]) - 10) <= 2


def test_rows_are_shuffled_and_those_of_one_question_stay_together():
    rows = [Row(f"question {number // 2}", answer_text=str(number)) for number in range(60)]
    order = shuffled(rows, random.Random(0))
    assert sorted(order, key=rows.index) == rows != order
    assert all(a.question == b.question for a, b in zip(order[::2], order[1::2], strict=True))
    assert order == shuffled(rows, random.Random(0)) != shuffled(rows, random.Random(1))


@given(
    groups=st.lists(st.integers(0, 20), min_size=1, max_size=60),
    sizes=st.tuples(*[st.integers(0, 30)] * 3),
)
def test_no_question_stands_in_two_splits(groups, sizes):
    items = [item(group, variant) for variant, group in enumerate(groups)]
    order, used, splits = in_order(items), set(), []
    for size in (*sizes, None):
        splits.append(take(order, size, used))
        used |= {i.group for i in splits[-1]}
        assert size is None or len(splits[-1]) <= size
    parts = [{i.group for i in part} for part in splits]
    assert sum(map(len, parts)) == len(set().union(*parts))
    assert sum(map(len, splits)) == len(items)
