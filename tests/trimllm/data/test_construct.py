"""Rows become documents."""

import random

import pytest

from trimllm.data import Document
from trimllm.data.construct import construct, in_order, kind_of, tidy
from trimllm.data.rows import Row, RowError


def make(rows, kind="own", rules=None, **spec):
    return construct(rows, spec | {"construct": rules or {"kind": kind}}, random.Random(0))


def documents(*given, **options):
    return [item.document for item in make(*given, **options)[0]]


def test_of_many_labels_some_are_drawn():
    rules = {"kind": "label", "labels": {name: name for name in "abcdefg"}, "choices": 3}
    rows = [Row(f"q{i}", label="abcdefg"[i % 7]) for i in range(210)]
    items, left_out = make([*rows, Row("q", label="h")], rules=rules)
    for row, item in zip(rows, items, strict=True):
        document = item.document
        assert document.choices[document.answer] == f" {row.label}" and item.drawn
        assert len(set(document.choices)) == 3 and item.stratum == "abcdefg".index(row.label)
    assert {choice.strip() for item in items for choice in item.document.choices} == {*"abcdefg"}
    assert {item.document.answer for item in items} == {0, 1, 2}
    assert left_out == {"another class": 1}


def test_messages_for_a_chat_template():
    rows = [Row("q", ("a", "b"), 0, context="c")]
    (chat,) = documents(rows, chat_template=True)
    (own,) = documents(rows, chat_template=True, prompt="{question}!")
    assert (chat.prompt, chat.messages) == ("c\nQuestion: q\nAnswer:", (("user", "c\nq"),))
    assert (own.prompt, own.messages) == ("q!", (("user", "q!"),))


def test_conversations_have_free_answers():
    assert kind_of({"from": [{"format": "messages"}]}) == "free"
    messages = (("system", "s"), ("user", "q"))
    row = Row("System: s\nUser: q", answer_text="a", messages=messages)
    document = Document("System: s\nUser: q\nAssistant:", (" a",), 0, messages)
    assert documents([row], "free") == [document]
    assert documents([row], "free", chat_template=False)[0].messages == ()


def test_own_choices_and_free_answers():
    rows = [Row("{x} {question}", ("{a}", "b"), 0), Row("q" * 50, ("a", "b"), 0), Row("q")]
    constructed, left_out = make([*rows, "repeated"], max_characters=60)
    document = Document("Question: {x} {question}\nAnswer:", (" {a}", " b"), 0)
    assert [row.document for row in constructed] == [document]
    assert left_out == {"too long": 1, "no choices": 1, "repeated": 1}
    rows = [Row("q", answer_text="answer 0", context="c"), Row("p", answer_text="x" * 11), Row("r")]
    constructed, left_out = make(rows, rules={"kind": "free", "texts": {"max_characters": 10}})
    assert [row.document.choices for row in constructed] == [(" answer 0",)]
    assert left_out == {"too long": 1, "too short": 1}


def test_which_items_are_the_same_document():
    rows = [Row("q", ("a", "b"), 0), Row("q?", ("b", "A"), 1), Row("q", ("a", "b."), 0)]
    items, _ = make(rows)
    first, second, third = (item.content() for item in items)
    assert first == second != third
    assert len({item.content(by_prompt=True) for item in items}) == 1
    rows = [Row("who?", ("a", "b"), 0, context=context) for context in ("one", "two", "One.")]
    groups = [item.group for item in make(rows)[0]]
    assert groups[0] == groups[2] != groups[1]


def test_every_stretch_holds_the_classes_in_equal_shares():
    groups = in_order(Row("", group=f"{i}", stratum=int(i < 30)) for i in range(90))
    strata = [group[0].stratum for group in groups.values()]
    for size in range(3, 91, 3):
        assert abs(sum(strata[:size]) - size / 3) <= 1


@pytest.mark.parametrize(
    ("raw", "rules", "clean"),
    [
        ("the  demand\nfor ____ :", {"tidy": True}, "The demand for"),
        ("a sentence that is cut between words", {"first_characters": 20}, "a sentence that is"),
        ("unbrokenandlongerthantwentycharacters", {"first_characters": 5}, "unbro"),
        ("x" * 30, {"max_characters": 20, "first_characters": 10}, RowError("too long")),
        ("x", {"min_characters": 2}, RowError("too short")),
        ("Not so", {"without": ["not"]}, RowError("with a word that is left out")),
    ],
)
def test_tidy(raw, rules, clean):
    if isinstance(clean, str):
        assert tidy(raw, rules) == clean
    else:
        with pytest.raises(RowError, match=str(clean)):
            tidy(raw, rules)
