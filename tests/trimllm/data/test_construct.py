from __future__ import annotations

import random

import pytest

from trimllm.base.errors import UserError
from trimllm.data import Document
from trimllm.data.construct import Item, construct, labels_of, tidy, words
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


def test_label_among_drawn_ones():
    rules = {
        "kind": "label",
        "labels": {name: name for name in "abcdefg"},
        "choices": 3,
    }
    rows = [Row(f"q{i}", label="abcdefg"[i % 7]) for i in range(210)]
    items = make(rows, construct=rules)
    for row, item in zip(rows, items, strict=True):
        document = item.document
        assert document.choices[document.answer] == f" {row.label}"
        assert len(set(document.choices)) == 3 and item.stratum == "abcdefg".index(row.label)
    assert {choice for item in items for choice in item.document.choices} == {
        f" {c}" for c in "abcdefg"
    }
    assert {item.document.answer for item in items} == {0, 1, 2}
    assert words(rules) == "which subject a question is about, among 3 drawn of 7"


def test_how_a_sentence_goes_on():
    text = " ".join(
        f"In case {i} the court of appeals number {i} held that rule {i} was quite void."
        for i in range(6)
    )
    rows = [Row(f"{text} Short one. Case {row}.") for row in range(3)]
    rules = {"kind": "continuation", "choices": 3}
    items = make(rows, construct=rules, prompt="{question}")
    assert len(items) == 18 and len({item.group for item in items}) == 3
    for number, item in enumerate(items):
        case, document = number % 6, item.document
        assert document.prompt == f"In case {case} the court of appeals number {case} held"
        assert document.choices[document.answer] == f" that rule {case} was quite void."
        assert len(set(document.choices)) == 3


def test_wrong_choices_are_those_of_rows_nearby():
    rows = [Row(f"q{i}", answer_text=f"{i}") for i in range(1000)]
    for number, item in enumerate(make(rows, construct={"kind": "answer"})):
        assert all(abs(int(choice) - number) <= 100 for choice in item.document.choices)


def test_texts_that_must_not_be_chosen():
    texts = {"max_characters": 10, "tidy": True, "without": ["all of"]}
    rows = [*ROWS, Row("q", answer_text="All of them"), Row("p", answer_text="x" * 11)]
    *kept, first, second = make(rows, construct={"kind": "answer", "texts": texts})
    assert first == second == "no text to choose"
    shown = {choice for item in kept for choice in item.document.choices}
    assert shown == {f" Answer {i}" for i in range(20)}


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


def test_a_free_answer_is_the_only_choice():
    rules = {"kind": "free", "texts": {"max_characters": 10}}
    rows = [Row("q", answer_text="answer 0"), Row("p", answer_text="x" * 11), Row("r")]
    item, *others = make(rows, construct=rules)
    assert (item.document.choices, item.document.answer) == ((" answer 0",), 0)
    assert item.document.free and not item.document.messages
    assert others == ["too long", "no answer"]


def test_a_context_stands_before_its_question():
    (item,) = make([Row("q", answer_text="a", context="c")], construct={"kind": "free"})
    assert item.document.prompt == "c\nQuestion: q\nAnswer:"


def test_what_a_chat_template_renders():
    rows = [Row("q", ("a", "b"), 0, context="c")]
    (plain,) = make(rows)
    (item,) = make(rows, chat_template=True)
    assert item.document.prompt == plain.document.prompt and not plain.document.messages
    assert item.document.messages == (("user", "c\nq"),)
    (own,) = make(rows, chat_template=True, prompt="{question}!")
    assert (own.document.prompt, own.document.messages) == ("q!", (("user", "q!"),))


def test_conversations_have_free_answers():
    messages = (("system", "s"), ("user", "q"))
    row = Row("System: s\nUser: q", answer_text="a", group="q", messages=messages)
    how = {"from": [{"format": "messages"}]}
    (item,) = make([row], **how)
    assert item.document == Document("System: s\nUser: q\nAssistant:", (" a",), 0, messages)
    assert item.group == "q"
    (item,) = make([row], chat_template=False, **how)
    assert item.document.messages == ()


def test_labels_are_those_of_the_rows():
    rows = [Row(f"q{i}", label=["no", "yes"][i % 2], where=f"f:{i + 1}") for i in range(9)]
    assert labels_of(rows) == {"no": "no", "yes": "yes"}
    with pytest.raises(UserError, match="f:1: the label of all 5 rows is 'no'"):
        labels_of(rows[::2])
    with pytest.raises(UserError, match="f:2: the class 'yes' has 1 rows and needs 4"):
        labels_of([*rows[::2], rows[1]])
    with pytest.raises(UserError, match="404 different labels in 404 rows, and at most 100"):
        labels_of([Row("q", label=str(i)) for i in range(404)])


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
