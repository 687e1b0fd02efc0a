from __future__ import annotations

import random

import pytest

from trimllm.base.errors import UserError
from trimllm.data.construct import Item, construct, tidy, words
from trimllm.data.rows import Row, RowError

ROWS = [Row(f"question {i}", answer_text=f"answer {i}", label="ab"[i % 2]) for i in range(20)]
LABELS = {"kind": "label", "labels": {"first": "a", "second": "b"}, "noun": "course"}


def make(rows, seed=0, **how):
    return construct(rows, how, random.Random(seed))


def test_label():
    items = make(ROWS, construct=LABELS, prompt="{question}\nCourse:")
    assert items[1].document.prompt == "question 1\nCourse:"
    assert items[1].document.choices == (" first", " second")
    assert [item.stratum for item in items[:3]] == [0, 1, 0]
    assert words(LABELS) == "which course a question is about, of 2: first, second"


def test_a_row_of_another_class_is_left_out():
    assert make([Row("q", label="c")], construct=LABELS) == ["another class"]


@pytest.mark.parametrize("kind", ["answer", "question"])
def test_choices_from_other_rows(kind):
    rules = {"kind": kind, "choices": 4}
    items = make(ROWS, construct=rules, prompt="{question}{answer}")
    for number, item in enumerate(items):
        document = item.document
        assert document.choices[document.answer] == f" {kind} {number}"
        assert len(set(document.choices)) == 4
    assert {item.document.answer for item in items} == {0, 1, 2, 3}
    assert items == make(ROWS, construct=rules, prompt="{question}{answer}")
    assert items != make(ROWS, seed=1, construct=rules, prompt="{question}{answer}")


def test_too_few_texts_to_choose_from():
    with pytest.raises(UserError, match="2 different texts are too few for 4 choices"):
        make(ROWS[:2], construct={"kind": "answer"})


def test_text_alone_is_a_document_to_train_on():
    (item,) = make(ROWS[:1], construct={"kind": "text"})
    assert (item.document.choices, item.document.answer) == ((" answer 0",), 0)


def test_braces_in_a_text_stay():
    (item,) = make([Row("{x} {question}", ("{a}", "b"), 0)])
    assert item == Item(item.document, "{x} {question}", None)
    assert item.document.prompt == "Question: {x} {question}\nAnswer:"


def test_too_long_is_left_out():
    rows = [Row("q" * 50, ("a", "b"), 0), Row("q", ("a", "b"), 0)]
    made = make(rows, max_characters=40)
    assert made[0] == "too long"
    assert isinstance(made[1], Item)


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("the  demand\nfor ____ :", "The demand for"),
        ("What is law?", "What is law"),
        ("a sentence that is cut between words", "A sentence that is"),
        ("unbrokenandlongerthantwentycharacters", "Unbrokenandlongertha"),
    ],
)
def test_tidy(raw, clean):
    assert tidy(raw, {"tidy": True, "first_characters": 20}) == clean


def test_bounds_hold_before_the_cut():
    with pytest.raises(RowError, match="too long"):
        tidy("x" * 30, {"max_characters": 20, "first_characters": 10})
    with pytest.raises(RowError, match="too short"):
        tidy("x", {"min_characters": 2})
