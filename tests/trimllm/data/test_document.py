from __future__ import annotations

import pytest

from trimllm.base.errors import UserError
from trimllm.data import Document, all_free, read_documents, write_documents


def test_hash_ignores_layout_case_and_order_of_choices():
    one = Document("Question: a\nAnswer:", (" x", " y"), 0)
    same = Document("question:  a answer:", (" Y", " x"), 1)
    other = Document("Question: b\nAnswer:", (" x", " y"), 0)
    assert one.hash == same.hash != other.hash


def test_written_documents_are_read_again(tmp_path):
    said = (("system", "s"), ("user", "q"))
    documents = [Document("p é", (" a", " b"), 1), Document("q", (" only",), 0, said)]
    write_documents(tmp_path / "d.jsonl", documents)
    assert read_documents(tmp_path / "d.jsonl") == documents


@pytest.mark.parametrize(
    ("prompt", "choices", "answer"),
    [
        ("", (" a",), 0),
        ("p", (), 0),
        ("p", (" a",), 1),
        ("p", (" a", " "), 0),
        ("p", (" a",), True),
    ],
)
def test_what_is_no_document_is_refused(prompt, choices, answer):
    with pytest.raises(ValueError, match="document|answer"):
        Document(prompt, choices, answer)


def test_a_line_that_is_no_document_is_named(tmp_path):
    path = tmp_path / "d.jsonl"
    path.write_text('{"prompt": "p", "choices": ["a"], "answer": 0}\n{"prompt": "p"}\n')
    with pytest.raises(UserError, match=r"d\.jsonl, document 2: .*choices"):
        read_documents(path)


def test_free_answers_and_choices_are_told_apart():
    free, other = Document("p", (" a",), 0), Document("p", (" a", " b"), 0)
    assert all_free([free, free], "x") and not all_free([other], "x") and not all_free([], "x")
    with pytest.raises(UserError, match="held_back: 1 of 3 documents have a free answer"):
        all_free([other, free, other], "held_back")
