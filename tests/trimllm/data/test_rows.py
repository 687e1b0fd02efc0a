"""Rows: what fields mean, and why a row does not parse."""

import pytest

from trimllm.data.rows import RowError, parse_row

FIELDS = {"question": "q", "choices": "c", "answer": "a"}
LETTERED = "A. one \nB. two\nC. three"


def parse(row, **fields):
    return parse_row(row, {"fields": FIELDS | fields})


def conversation(*messages):
    return {"messages": [{"role": role, "content": content} for role, content in messages]}


@pytest.mark.parametrize("answer", [1, "1", "B", "b", "B.", "(B)", "B. two", "b) two", "two "])
def test_answers_that_mean_the_second_choice(answer):
    for choices in (["one", "two", "three"], LETTERED):
        row = parse({"q": "?", "c": choices, "a": answer})
        assert (row.choices[:2], row.answer, row.answer_text) == (("one", "two"), 1, "two")


@pytest.mark.parametrize(
    ("answer", "choices", "reading", "index"),
    [
        ("2", "3214", None, None),  # the text of the second choice, the index of the third
        ("2", "3214", "index", 2),
        ("2", "3214", "text", 1),
        (2, "3214", None, 2),  # a number among texts is an index
        (2, [3, 2, 1, 4], None, None),
        (2, [3, 2, 1, 4], "text", 1),
        ("b", "bcd", None, None),
        ("b", "bcd", "letter", 1),
        ("2", "0123", None, 2),  # both readings agree
        ("9", "3914", None, 1),  # no index
    ],
)
def test_an_answer_of_two_meanings_is_refused_unless_the_fields_say_which(
    answer, choices, reading, index
):
    row = {"q": "?", "c": [*choices], "a": answer}
    fields = {"answer_is": reading} if reading else {}
    if index is None:
        with pytest.raises(RowError, match="none of the choices|answer is the text of one choice"):
            parse(row, **fields)
    else:
        assert parse(row, **fields).answer == index


def test_other_forms():
    row = {"q": "?", "d1": "x", "d2": "y", "right": "z"}
    assert parse(row, choices=["d1", "d2", "right"], answer=2).answer_text == "z"
    parsed = parse_row(
        {"q": "Do", "in": "", "out": "done"}, {"fields": {"question": ["q", "in"], "answer": "out"}}
    )
    assert (parsed.question, parsed.answer_text, parsed.choices) == ("Do", "done", ())
    assert parse({"q": "?", "c": {"text": ["x", "y"], "label": ["1", "2"]}, "a": "1"}).answer == 0
    for value, index in (("True", 0), (True, 0), ("False", 1), (False, 1)):
        parsed = parse({"q": "?", "a": value}, choices={"Relevant": "True", "Not": "False"})
        assert (parsed.choices, parsed.answer) == (("Relevant", "Not"), index)


def test_the_last_message_of_the_assistant_is_the_answer():
    before = [("system", "Be brief."), ("user", "One?"), ("assistant", "1"), ("user", "Two?")]
    row = parse_row(conversation(*before, ("assistant", " 2 ")), {"format": "messages"})
    assert (row.messages, row.answer_text, row.group) == (tuple(before), "2", "one")
    assert row.question == "System: Be brief.\nUser: One?\nAssistant: 1\nUser: Two?"
    row = parse_row(conversation(*before), {"format": "messages"})
    assert (row.question, row.answer_text) == ("System: Be brief.\nUser: One?", "1")
    assert parse_row(conversation(*before[1:3]), {"format": "messages"}).question == "One?"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"messages": "hello"}, "field messages is not a list"),
        (conversation(("assistant", "a")), "no message of the user that the assistant answers"),
        (conversation(("human", "q")), "message 1 has no role of system, user, assistant"),
        (conversation(("user", "q"), ("assistant", " ")), "an empty message 2"),
        ("text", "not an object"),
        ({"messages": []}, "no field q"),
        ({"q": " "}, "an empty question"),
        ({"q": "caf\ud800", "c": LETTERED, "a": 0}, "half a character"),
        ({"q": "?", "c": "A. x\nB. "}, "an empty option"),
        ({"q": "?", "c": LETTERED, "a": "D"}, "answer 3 of 3 choices"),
        ({"q": "?", "c": LETTERED, "a": "A. two"}, "none of the choices"),
        ({"q": "?", "c": {"text": ["x"], "label": ["A", "B"]}, "a": "B"}, "answer 1 of 1 choices"),
        ({"q": "?", "c": 3, "a": 0}, "neither a list nor lettered"),
    ],
)
def test_what_does_not_parse_says_why(row, reason):
    chat = isinstance(row, dict) and row.get("messages")
    with pytest.raises(RowError, match=reason):
        parse_row(row, {"format": "messages"} if chat else {"fields": FIELDS})
