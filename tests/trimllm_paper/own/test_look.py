"""A file is looked at: which kind it is, and what is wrong with it, in one line."""

from pathlib import Path
from typing import Any

import pytest
from wheels import lines, question_rows

from trimllm.base.errors import UserError
from trimllm.data.rows import parse_row
from trimllm_paper.config.domain import DocumentSet
from trimllm_paper.own import look

Row = dict[str, Any]


def labels(count: int = 100, classes: int = 2) -> list[Row]:
    return [{"text": f"Number {i}.", "label": f"rest {i % classes}"} for i in range(count)]


def write(path: Path, rows: list[Row]) -> Path:
    path.write_text(lines(rows))
    return path


# Rows of one question, as data sets have them -> its choices and the right one.
CHOICES: list[tuple[Row, tuple[str, ...], int]] = [
    ({"question": "q?", "choices": ["x", "y"], "answer": 1}, ("x", "y"), 1),
    ({"Question": "q?", "Options": ["x", "y"], "Answer": "B"}, ("x", "y"), 1),
    ({"q": "q?", "c": ["x", "y"], "a": "y"}, ("x", "y"), 1),
    ({"question": "q?", "A": "x", "B": "y", "answer": "A"}, ("x", "y"), 0),
    ({"question": "q?", "opa": "x", "opb": "y", "opc": "z", "answer": 2}, ("x", "y", "z"), 2),
    ({"goal": "q?", "sol1": "x", "sol2": "y", "label": 1}, ("x", "y"), 1),
    ({"query": "q?", "option_a": "x", "option_b": "y", "gold": "b"}, ("x", "y"), 1),
    ({"question": "q?", "choices": {"text": ["x", "y"], "label": ["1", "2"]}, "answerKey": "2"},
     ("x", "y"), 1),
    ({"question": "q?", "correct_answer": "x", "distractor1": "y", "distractor2": "z"},
     ("x", "y", "z"), 0),
]  # fmt: skip


@pytest.mark.parametrize(
    "row, choices, answer", CHOICES, ids=[",".join(row) for row, *_ in CHOICES]
)
def test_fields_are_recognized(row: Row, choices: tuple[str, ...], answer: int) -> None:
    parsed = parse_row(row, look.spec_of(row))
    assert (parsed.question, parsed.choices, parsed.answer) == ("q?", choices, answer)


FREE = [{"prompt": f"What is {i}?", "completion": f"The number {i}."} for i in range(100)]
MESSAGES = [
    {"messages": [{"role": "user", "content": f"{i}?"}, {"role": "assistant", "content": f"{i}!"}]}
    for i in range(100)
]
WITH_CONTEXT = [row | {"context": "c"} for row in question_rows(100)]


@pytest.mark.parametrize(
    "rows, kind, fields, answers",
    [
        (question_rows(100), "own", "question, choices, answer", {"0", "1"}),
        (WITH_CONTEXT, "own", "question, context, choices, answer", {"0", "1"}),
        (labels(), "label", "text, label", {"rest 0", "rest 1"}),
        (FREE, "free", "prompt, completion", set()),
        (MESSAGES, "free", "messages", set()),
    ],
)
def test_kinds_of_rows(tmp_path: Path, rows: list[Row], kind, fields, answers) -> None:
    data = look.look(write(tmp_path / "my.jsonl", [*rows, rows[0], {"n": "x"}]))
    assert (data.kind, data.fields, len(data.pool.rows)) == (kind, fields, 100)
    assert data.pool.report["rows_failed"] == data.pool.report["duplicates_removed"] == 1
    assert sum(data.answers.values()) == (101 if answers else 0) and {*data.answers} == answers
    one = DocumentSet.model_validate({"from": [{"file": "my.jsonl"}], **data.spec})
    assert ("{context}" in (one.prompt or "")) == ("context" in rows[0])
    # conversations are rendered by the model's template anyway
    assert one.chat_template is (True if rows is FREE else None)


BROKEN: dict[str, tuple[list[Row], str]] = {
    "mixed": (
        question_rows(60) + labels(40),
        r"40 of 100 rows do not parse.*my.jsonl:61 .no field quest",
    ),
    "answers from 1": (
        [row | {"answer": 2} for row in question_rows(100)],
        r"100 of 100 rows.*my.jsonl:1 .answer 2 of 2 choices.*; answers count from 0",
    ),
    "one class": (labels(classes=1), "every row has the answer 'rest 0'; nothing can be learned"),
    "neither": ([{"prompt": "x", "n": 1}] * 100, ".fields prompt, n. is neither question and ans"),
    "nothing": ([], "is empty"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_one_line(tmp_path: Path, name: str) -> None:
    rows, message = BROKEN[name]
    with pytest.raises(UserError, match=message):
        look.look(write(tmp_path / "my.jsonl", rows))
