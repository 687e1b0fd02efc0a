"""Rows become documents."""

from __future__ import annotations

import random

import pytest

from trimllm.base.errors import UserError
from trimllm.data import Document
from trimllm.data.construct import construct, kind_of, labels_of, tidy
from trimllm.data.rows import Row, RowError


def make(rows, kind="own", rules=None, **spec):
    return construct(rows, spec | {"construct": rules or {"kind": kind}}, random.Random(0))


def test_of_many_labels_some_are_drawn():
    rules = {"kind": "label", "labels": {name: name for name in "abcdefg"}, "choices": 3}
    rows = [Row(f"q{i}", label="abcdefg"[i % 7]) for i in range(210)]
    items = make(rows, rules=rules)
    for row, item in zip(rows, items, strict=True):
        document = item.document
        assert document.choices[document.answer] == f" {row.label}" and item.drawn
        assert len(set(document.choices)) == 3 and item.stratum == "abcdefg".index(row.label)
    assert {choice.strip() for item in items for choice in item.document.choices} == {*"abcdefg"}
    assert {item.document.answer for item in items} == {0, 1, 2}


def test_labels_are_those_of_the_rows():
    rows = [Row(f"q{i}", label=["yes", "no"][i % 2]) for i in range(9)]
    assert list(labels_of(rows).items()) == [("no", "no"), ("yes", "yes")]
    for refused, count in ((rows[::2], 1), ([Row("q", label=str(i)) for i in range(404)], 404)):
        with pytest.raises(UserError, match=f"{count} different labels in {len(refused)} rows"):
            labels_of(refused)


def test_a_free_answer_is_the_only_choice():
    rules = {"kind": "free", "texts": {"max_characters": 10}}
    rows = [Row("q", answer_text="answer 0", context="c"), Row("p", answer_text="x" * 11), Row("r")]
    item, *others = make(rows, rules=rules)
    assert item.document == Document("c\nQuestion: q\nAnswer:", (" answer 0",), 0)
    assert others == ["too long", "no answer"]


def test_messages_for_a_chat_template():
    rows = [Row("q", ("a", "b"), 0, context="c")]
    (plain,) = make(rows)
    (item,) = make(rows, chat_template=True)
    assert item.document.prompt == plain.document.prompt and not plain.document.messages
    assert item.document.messages == (("user", "c\nq"),)
    (own,) = make(rows, chat_template=True, prompt="{question}!")
    assert (own.document.prompt, own.document.messages) == ("q!", (("user", "q!"),))


def test_conversations_have_free_answers():
    assert kind_of({"from": [{"format": "messages"}]}) == "free"
    messages = (("system", "s"), ("user", "q"))
    row = Row("System: s\nUser: q", answer_text="a", group="q", messages=messages)
    (item,) = make([row], "free")
    assert item.document == Document("System: s\nUser: q\nAssistant:", (" a",), 0, messages)
    assert item.group == "q"
    (item,) = make([row], "free", chat_template=False)
    assert item.document.messages == ()


def test_own_choices():
    rows = [Row("{x} {question}", ("{a}", "b"), 0), Row("q" * 50, ("a", "b"), 0), Row("q")]
    item, *others = make(rows, max_characters=60)
    assert item.document == Document("Question: {x} {question}\nAnswer:", (" {a}", " b"), 0)
    assert others == ["too long", "no choices"]


def test_which_items_are_the_same_document():
    rows = [Row("q", ("a", "b"), 0), Row("q?", ("b", "A"), 1), Row("q", ("a", "b."), 0)]
    first, second, third = (item.content() for item in make(rows))
    assert first == second != third
    assert len({item.content(by_prompt=True) for item in make(rows)}) == 1
    rows = [Row("who?", ("a", "b"), 0, context=context) for context in ("one", "two", "One.")]
    groups = [item.group for item in make(rows)]
    assert groups[0] == groups[2] != groups[1]


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("the  demand\nfor ____ :", "The demand for"),
        ("a sentence that is cut between words", "A sentence that is"),
        ("unbrokenandlongerthantwentycharacters", "Unbrokenandlongertha"),
    ],
)
def test_tidy(raw, clean):
    assert tidy(raw, {"tidy": True, "first_characters": 20}) == clean


@pytest.mark.parametrize(
    ("text", "rules", "reason"),
    [
        ("x" * 30, {"max_characters": 20, "first_characters": 10}, "too long"),
        ("x", {"min_characters": 2}, "too short"),
        ("Not so", {"without": ["not"]}, "with a word that is left out"),
    ],
)
def test_texts_that_are_left_out(text, rules, reason):
    with pytest.raises(RowError, match=reason):
        tidy(text, rules)
