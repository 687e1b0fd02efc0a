from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimllm.base.errors import UserError
from trimllm.data import Document, all_free, read_documents, write_documents
from trimllm.data.document import bare


def test_hash_ignores_layout_case_and_order_of_choices():
    one = Document("Question: a\nAnswer:", (" x", " y"), 0)
    same = Document("question:  a answer:", (" Y", " x"), 1)
    other = Document("Question: b\nAnswer:", (" x", " y"), 0)
    assert one.hash == same.hash != other.hash


def test_documents_are_read_as_they_were_written_and_what_is_none_is_named(tmp_path):
    messages = (("system", "s"), ("user", "q"))
    documents = [Document("p é", (" a", " b"), 1), Document("q", (" only",), 0, messages)]
    path = tmp_path / "d.jsonl"
    write_documents(path, documents)
    assert read_documents(path) == documents
    for row in ('{"prompt": "p"}', "3", '{"prompt": "p", "choices": "a", "answer": 0}'):
        path.write_text(f'{{"prompt": "p", "choices": ["a"], "answer": 0}}\n{row}\n')
        with pytest.raises(UserError, match=r"d\.jsonl, document 2: .*; write the file again"):
            read_documents(path)


@pytest.mark.parametrize(
    "values",
    [("", ("a",), 0), ("p", (), 0), ("p", ("a",), 1), ("p", ("a", " "), 0), ("p", ("a",), True)],
)
def test_what_is_no_document_is_refused(values):
    with pytest.raises(ValueError, match="document|answer"):
        Document(*values)


def test_documents_of_two_kinds_are_refused():
    free, other = Document("p", (" a",), 0), Document("p", (" a", " b"), 0)
    assert all_free([free, free], "x") and not all_free([other], "x") and not all_free([], "x")
    with pytest.raises(UserError, match="held_back: 1 of 3 documents have a free answer"):
        all_free([other, free, other], "held_back")


SAME = [
    *(("Phase 1 trials is", "phase 1  Trials is:-"), ("问题？", "问题"), ("it: ____", "it")),
    *(("stage-I cancer of larynx", "Stage I cancer of larynx."), ("caf\u00e9", "cafe\u0301")),
    *(("«who» says “so”", "who says 'so'"), ("the court’s", "the court's")),
]
OTHER = [
    *(("5 - 3", "5 3"), ("3!", "3"), ("10²", "102"), (".5", "5"), ("–5", "5"), ("!x", "x")),
    *(("2 + 2", "2 * 2"), ("-5", "5"), ("C++", "C"), ("C#", "C"), ("Na+", "Na"), ("5%", "5")),
    *(("3-4", "34"), ("1.5", "15"), ("?", "!"), ("a b", "ab"), ("問", "题")),
]


def test_marks_at_words_do_not_matter_and_signs_do():
    assert [pair for pair in SAME if bare(pair[0]) != bare(pair[1])] == []
    assert [pair for pair in OTHER if bare(pair[0]) == bare(pair[1])] == []


@given(st.text())
def test_bare_is_bare_and_empty_only_of_blanks(text):
    assert bare(bare(text)) == bare(text)
    assert bool(bare(text)) == bool(text.strip())
