from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trimllm.base.errors import UserError
from trimllm.data import Document
from trimllm.data.construct import Item, construct, halves, labels_of, tidy, words
from trimllm.data.document import bare
from trimllm.data.rows import Row, RowError

ROWS = [Row(f"question {i}", answer_text=f"answer {i}", label="ab"[i % 2]) for i in range(20)]
ANSWER = {"kind": "answer"}
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
    rows = [Row(f"{text} Short one. Case one."), Row("Short two."), Row(f"Once again. {text}")]
    rules = {"kind": "continuation", "choices": 3}
    made = make(rows, construct=rules, prompt="{question}")
    items = [item for item in made if isinstance(item, Item)]
    assert (
        len(items) == made.count("asked before") == 6 and len({item.group for item in items}) == 1
    )
    for case, item in enumerate(items):
        document = item.document
        assert document.prompt == f"In case {case} the court of appeals number {case} held that"
        assert document.choices[document.answer] == f" rule {case} was quite void."
        assert len(set(document.choices)) == 3
    assert {item.group for item in make(rows[2:], construct=rules)} != {items[0].group}


@given(st.lists(st.sampled_from(["one", "Two,", "3", "v.", "Dr.", "(i.e.", "<i>Four</i>", "end."])))
@settings(max_examples=300, deadline=None)
def test_the_number_of_words_tells_no_end(said):
    """As many words of every sentence are to be chosen, and none ends with an abbreviation."""
    said.append("ended. They then all went home to rest there.")
    for half in halves(Row("Begin " + " ".join(said))):
        shown, end = half.question.split(), half.answer_text.split()
        assert len(end) == 5 and 4 <= len(shown) <= 11
        assert end[-1] not in ("v.", "Dr.", "(i.e.") and "<" not in half.question + half.answer_text


def test_sentences_are_not_cut_at_abbreviations():
    text = "On <i>May 2</i> Dr. Smith v. Jones Inc. was heard by Judge A. Doerr there. Not long."
    first, second = halves(
        Row(text + " The plaintiff who had been there for years then went home.")
    )
    assert first.question == "On May 2 Dr. Smith v. Jones Inc. was heard"
    assert first.answer_text == "by Judge A. Doerr there."
    assert (second.question, second.answer_text) == (
        "The plaintiff who had been there",
        "for years then went home.",
    )


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
    assert item == Item(item.document, "x question", None)
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


@pytest.mark.parametrize("kind", ["answer", "continuation", "label"])
def test_where_choices_are_drawn_a_prompt_stands_once(kind):
    """Of two right answers to one prompt, each would make the other's row unanswerable."""
    begin = "After six years this one case"
    ends = [f"was assigned to judge {number}." for number in range(8)]
    rules = {"kind": kind, "choices": 3}
    if kind == "continuation":
        rows = [Row(f"{begin} {end}") for end in ends[:4]]
        rows += [Row(f"Unlike the cases before it number {end} {end}") for end in ends[4:]]
    else:
        rows = [Row(begin, answer_text=end, label=end) for end in ends[:4]]
        rows += [Row(f"Which {end}", answer_text=end, label=end) for end in ends[4:]]
        rules |= {"labels": {end: end for end in ends}} if kind == "label" else {}
    items = make(rows, construct=rules, prompt="{question}")
    assert items[1:4] == ["asked before"] * 3
    kept = [items[0], *items[4:]]
    assert len({item.document.prompt for item in kept}) == len({item.content for item in kept}) == 5
    assert all(len(item.document.choices) == 3 for item in kept)
    if kind != "label":
        shown = {choice for item in kept for choice in item.document.choices}
        assert shown <= {f" {end}" for end in (ends[0], *ends[4:])}


def test_wrong_choices_are_right_ones_of_documents():
    """What only ever stood as a wrong choice would be known by that."""
    rows = [Row(f"question {i:02}" + "x" * (i % 2), answer_text=f"answer {i}") for i in range(40)]
    items = make(rows, construct={"kind": "answer"}, question={"max_characters": 11})
    kept = [item for item in items if isinstance(item, Item)]
    assert len(kept) == 20 and items.count("too long") == 20
    right = {item.document.choices[item.document.answer] for item in kept}
    assert {choice for item in kept for choice in item.document.choices} == right


@pytest.mark.parametrize("left_out", ["too long", "another class"])
def test_who_is_left_out_leaves_neither_its_text_nor_its_place(left_out):
    """A wrong choice that is never right is known by that; the second who asks is asked then."""
    labels = {"labels": {f"answer {i}": f"answer {i}" for i in range(20)}}
    first = Row("question 3", label="none", answer_text="y" * 60)
    rows = [first, *(replace(row, label=row.answer_text) for row in ROWS)]
    kind = {"kind": "label", "choices": 4} | labels if left_out == "another class" else ANSWER
    most = {"max_characters": 85} if left_out == "too long" else {}
    gone, *items = make(rows, construct=kind, **most)
    assert gone == left_out and all(isinstance(item, Item) for item in items)
    assert not any("y" in choice for item in items for choice in item.document.choices)


def test_two_choices_are_never_the_same_to_a_reader():
    answers = ["Paris", "paris.", "Rome", "rome,", "Oslo", "Bern", "(Bern)"]
    items = make([Row(f"q{i}", answer_text=a) for i, a in enumerate(answers)], construct=ANSWER)
    for item in items:
        assert len({bare(choice) for choice in item.document.choices}) == 4


def test_what_makes_two_documents_the_same():
    rows = [*ROWS, Row("Question 3:-", answer_text="answer 3")]
    *items, again = make(rows, construct=ANSWER)
    assert all(item.drawn for item in items) and again == "asked before"
    first, second, third = make(
        [Row("q", ("a", "b"), 0), Row("q?", ("b", "A"), 1), Row("q", ("a", "b."), 0)]
    )
    assert not first.drawn and first.content == second.content != third.content


def test_a_question_about_another_context_is_another_question():
    rows = [Row("who?", ("a", "b"), 0, context=context) for context in ("one", "two", "One.")]
    groups = [item.group for item in make(rows)]
    assert groups[0] == groups[2] != groups[1]
