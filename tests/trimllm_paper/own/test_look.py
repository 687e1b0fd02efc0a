"""A file is looked at: which kind it is, and what is wrong with it, in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trimllm.base.errors import UserError
from trimllm.data.rows import parse_row
from trimllm_paper.config.domain import DocumentSet
from trimllm_paper.own import look

Row = dict[str, Any]


def sums(count: int = 100) -> list[Row]:
    return [
        {"question": f"What is {i} and one?", "choices": [str(i + 1), "no"], "answer": i % 2}
        for i in range(count)
    ]


def labels(count: int = 100) -> list[Row]:
    return [{"text": f"This is number {i}.", "label": ["odd", "even"][i % 2]} for i in range(count)]


def write(path: Path, rows: list[Row]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


# Rows of one question, as data sets have them -> its choices and the right one.
KINDS: list[tuple[Row, tuple[str, ...], int]] = [
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


@pytest.mark.parametrize("row, choices, answer", KINDS, ids=[",".join(row) for row, *_ in KINDS])
def test_fields_are_found(row: Row, choices: tuple[str, ...], answer: int) -> None:
    kind = look.kind_of(row)
    assert kind is not None and kind.name == "choices"
    parsed = parse_row(row, {"fields": kind.fields})
    assert (parsed.question, parsed.choices, parsed.answer) == ("q?", choices, answer)


def test_labelled_texts_are_offered_their_labels(tmp_path: Path) -> None:
    found = look.look(write(tmp_path / "my.jsonl", labels()))
    assert found.kind.name == "labels" and found.answers == {"odd": 50, "even": 50}
    rules = found.spec["construct"]
    assert rules["kind"] == "label" and rules["labels"] == {"even": "even", "odd": "odd"}
    many = [{"text": f"text {i}", "class": f"c{i % 30}"} for i in range(120)]
    found = look.look(write(tmp_path / "many.jsonl", many))
    assert found.spec["construct"]["choices"] == look.OFFERED


FREE = [{"question": f"What is {i}?", "answer": f"The number {i}."} for i in range(100)]
SAID = [
    {"messages": [{"role": "user", "content": f"{i}?"}, {"role": "assistant", "content": f"{i}!"}]}
    for i in range(100)
]


@pytest.mark.parametrize("rows, name", [(FREE, "free"), (SAID, "messages")])
def test_free_answers_and_conversations(tmp_path: Path, rows: list[Row], name: str) -> None:
    found = look.look(write(tmp_path / "my.jsonl", rows))
    assert found.kind.name == name and found.kind.free and not found.answers
    one = DocumentSet.model_validate({"from": [{"file": "my.jsonl"}], **found.spec})
    assert one.construction.kind == "free" and (one.format == "messages") == (name == "messages")
    # conversations are rendered by the model's template anyway
    assert one.chat_template is (True if name == "free" else None)
    other = look.kind_of({"prompt": "q?", "completion": "a"})
    assert other is not None and other.fields == {"question": "prompt", "answer": "completion"}


def test_a_table_of_commas(tmp_path: Path) -> None:
    lines = [f'"What is {i}, and one?",{i + 1},no,{"AB"[i % 2]}' for i in range(100)]
    path = tmp_path / "my.csv"
    path.write_text("\n".join(["question,option_a,option_b,answer", *lines]))
    found = look.look(path)
    assert found.kind.name == "choices" and found.answers == {"0": 50, "1": 50}


@pytest.mark.parametrize("rows", [sums(), labels(), [{**r, "context": "c"} for r in sums()]])
def test_what_is_found_is_a_set_of_a_domain(tmp_path: Path, rows: list[Row]) -> None:
    found = look.look(write(tmp_path / "my.jsonl", rows))
    DocumentSet.model_validate({"from": [{"file": "my.jsonl"}], **found.spec})
    assert ("{context}" in found.spec["prompt"]) == ("context" in rows[0])


def test_a_few_broken_rows_are_named_and_left_out(tmp_path: Path) -> None:
    found = look.look(write(tmp_path / "my.jsonl", [*sums(), {"question": "x"}]))
    assert found.rows == 101 and found.failed == ["my.jsonl:101: no field choices"]


def changed(every: int = 1, **fields: Any) -> list[Row]:
    return [row | fields if i % every == 0 else row for i, row in enumerate(sums())]


def text(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


BROKEN: dict[str, tuple[Callable[[Path], Path], str]] = {
    "encoding": (
        lambda f: text(f / "my.jsonl", '{"question": "caf\xe9"}\n'.encode("latin-1")),
        "my.jsonl:1: not UTF-8; save the file in the encoding UTF-8",
    ),
    "mixed": (
        lambda f: write(f / "my.jsonl", sums(50) + labels(50)),
        "my.jsonl:1 has question, choices, answer, my.jsonl:51 has text, label .50 of 100 rows",
    ),
    "answer out of range": (
        lambda f: write(f / "my.jsonl", changed(answer=2)),
        "100 of 100 rows do not parse; the first is my.jsonl:1: answer 2 of 2 choices; answers "
        "count from 0",
    ),
    "one class": (
        lambda f: write(f / "my.jsonl", [r | {"label": "odd"} for r in labels()]),
        "all 100 rows have the label 'odd'; nothing can be learned",
    ),
    "one answer": (
        lambda f: write(f / "my.jsonl", changed(choices=["yes", "no"], answer=0)),
        "all 100 rows have the right answer 'yes'",
    ),
    "half characters": (
        lambda f: write(f / "my.jsonl", changed(question="caf\ud800")),
        "100 of 100 rows do not parse; the first is my.jsonl:1: half a character",
    ),
    "empty answers": (
        lambda f: write(f / "my.jsonl", changed(2, answer="")),
        "50 of 100 rows do not parse; the first is my.jsonl:1: the answer is none of the choices",
    ),
    "empty labels": (
        lambda f: write(f / "my.jsonl", [r | {"label": " "} for r in labels()]),
        "my.jsonl:1: an empty label",
    ),
    "a list": (
        lambda f: text(f / "my.jsonl", json.dumps(sums(3), indent=1).encode()),
        "is one JSON list, not a document a line; rename it my.json",
    ),
    "neither": (
        lambda f: write(f / "my.jsonl", [{"prompt": "x", "n": 1}] * 100),
        "my.jsonl:1 has fields prompt, n: neither question and answer",
    ),
    "nothing": (lambda f: text(f / "my.jsonl", b""), "is empty"),
    "not there": (lambda f: f / "my.jsonl", "does not exist"),
    "another form": (
        lambda f: text(f / "my.xlsx", b"x"),
        "is not .jsonl, .json, .csv, .tsv or .parquet",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_one_line(tmp_path: Path, name: str) -> None:
    make, told = BROKEN[name]
    with pytest.raises(UserError, match=told) as error:
        look.look(make(tmp_path))
    assert "\n" not in str(error.value)
