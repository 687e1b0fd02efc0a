from __future__ import annotations

import pytest

from trimllm.data.rows import RowError, lettered, parse_row

FIELDS = {"fields": {"question": "question", "choices": "options", "answer": "answer"}}


def parse(row, **fields):
    return parse_row(row, {"fields": {"question": "q", **fields}})


@pytest.mark.parametrize(
    "answer", [1, "1", "B", "b", "B.", "(B)", "B. two", "b) two", "two", "Two "]
)
def test_answers_that_mean_the_second_choice(answer):
    row = parse({"q": "?", "c": ["one", "two"], "a": answer}, choices="c", answer="a")
    assert (row.answer, row.answer_text) == (1, "two")


def test_lettered_lines():
    row = {"question": "Which?", "options": "A. one \nB. two\nC. three", "answer": "C. three"}
    parsed = parse_row(row, FIELDS)
    assert parsed.choices == ("one", "two", "three")
    assert parsed.answer == 2


def test_an_option_may_hold_a_line_that_looks_like_another_letter():
    assert lettered("Q\nA. I said:\nI. no\nB. two")[1] == ("I said:\nI. no", "two")


def test_choices_in_several_fields_and_a_constant_answer():
    row = {"q": "?", "d1": "x", "d2": "y", "right": "z"}
    parsed = parse(row, choices=["d1", "d2", "right"], answer=2)
    assert parsed.answer_text == "z"


def test_choices_with_labels_of_their_own():
    row = {"q": "?", "c": {"text": ["x", "y"], "label": ["1", "2"]}, "a": "1"}
    assert parse(row, choices="c", answer="a").answer == 0


@pytest.mark.parametrize(("value", "index"), [("True", 0), (True, 0), ("False", 1), (False, 1)])
def test_truth_values(value, index):
    choices = {"Relevant": "True", "Irrelevant": "False"}
    parsed = parse({"q": "?", "a": value}, choices=choices, answer="a")
    assert (parsed.choices, parsed.answer) == (("Relevant", "Irrelevant"), index)


@pytest.mark.parametrize("ideal", ["B", "B: lose", "b) lose"])
def test_chat_samples(ideal):
    message = {"role": "user", "content": "A rubber band will\n\n A: gain\n B: lose\nAnswer:"}
    row = {"input": [{"role": "system", "content": "A: no\nB: no"}, message], "ideal": ideal}
    parsed = parse_row(row, {"format": "chat"})
    assert (parsed.question, parsed.choices) == ("A rubber band will", ("gain", "lose"))
    assert parsed.answer == 1


def test_several_fields_make_one_question():
    row = {"instruction": "Do", "input": "", "output": "done"}
    how = {"fields": {"question": ["instruction", "input"], "answer": "output"}}
    parsed = parse_row(row, how)
    assert (parsed.question, parsed.answer_text, parsed.choices) == ("Do", "done", ())


def conversation(*said):
    return {"messages": [{"role": role, "content": content} for role, content in said]}


def test_the_last_message_of_the_assistant_is_the_answer():
    said = [("system", "Be brief."), ("user", "One?"), ("assistant", "1"), ("user", "Two?")]
    row = parse_row(conversation(*said, ("assistant", " 2 ")), {"format": "messages"})
    assert (row.messages, row.answer_text, row.group) == (tuple(said), "2", "one")
    assert row.question == "System: Be brief.\nUser: One?\nAssistant: 1\nUser: Two?"
    row = parse_row(conversation(*said), {"format": "messages"})
    assert (row.question, row.answer_text) == ("System: Be brief.\nUser: One?", "1")
    assert parse_row(conversation(*said[1:3]), {"format": "messages"}).question == "One?"


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"q": "?"}, "no field messages"),
        ({"messages": "hello"}, "field messages is not a list"),
        (conversation(("user", "q")), "no message of the assistant"),
        (conversation(("assistant", "a")), "no message of the user before"),
        (conversation(("human", "q")), "message 1 has no role of system, user, assistant"),
        (conversation(("user", "q"), ("assistant", " ")), "message 2 is empty"),
        (conversation(("user", "q"), ("assistant", None)), "no field content"),
        (conversation(("user", ["q"]), ("assistant", "a")), "field content is not a text"),
    ],
)
def test_what_is_no_conversation_says_why(row, reason):
    with pytest.raises(RowError, match=reason):
        parse_row(row, {"format": "messages"})


def test_mixed_formats_empty_labels_and_endless_texts_are_told():
    with pytest.raises(RowError, match=r"no field q \(but messages: format: messages\?\)"):
        parse(conversation(("user", "q"), ("assistant", "a")))
    with pytest.raises(RowError, match="an empty label"):
        parse({"q": "?", "l": " "}, label="l")
    with pytest.raises(RowError, match="an empty answer"):
        parse({"q": "?", "a": " "}, answer="a")
    with pytest.raises(RowError, match="field a has 1,000,001 characters, more than 1,000,000"):
        parse({"q": "?", "a": "x" * 1_000_001}, answer="a")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("text", "not an object"),
        ({"options": "A. x\nB. y", "answer": "A. x"}, "no field question"),
        ({"question": " ", "options": "A. x\nB. y", "answer": "A. x"}, "an empty question"),
        ({"question": "?", "options": "A. x", "answer": "A. x"}, "no lettered options"),
        ({"question": "?", "options": "A. x\nB. ", "answer": "A. x"}, "an empty option"),
        ({"question": "?", "options": "A. x\nB. y", "answer": "C. z"}, "answer 2 of 2 choices"),
        ({"question": "?", "options": "A. x\nB. y", "answer": "A. y"}, "different choices"),
        ({"question": "?", "options": "A. x\nB. y", "answer": "zebra"}, "none of the choices"),
        ({"question": "?", "options": "A. x\nB. y", "answer": 2}, "answer 2 of 2 choices"),
        ({"question": "?", "options": "A. x\nB. y", "answer": None}, "no field answer"),
        ({"question": "?", "options": 3, "answer": 0}, "neither a list nor lettered"),
    ],
)
def test_what_does_not_parse_says_why(row, reason):
    with pytest.raises(RowError, match=reason):
        parse_row(row, FIELDS)
