import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimllm.base.errors import UserError
from trimllm.data import Document, read_documents, write_documents
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


@pytest.mark.parametrize("values", [("", ("a",), 0), ("p", ("a",), 1), ("p", ("a", " "), 0)])
def test_what_is_no_document_is_refused(values):
    with pytest.raises(ValueError, match="document|answer"):
        Document(*values)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Phase 1 trials is", "phase 1  Trials is:-"),
        ("问题？", "问题"),
        ("it: ____", "it"),
        ("caf\u00e9", "cafe\u0301"),
        ("«who» says “so”", "who says 'so'"),
    ],
)
def test_marks_at_words_do_not_matter(one, other):
    assert bare(one) == bare(other)


def test_signs_matter():
    pairs = "5 - 3|5 3,3!|3,10²|102,.5|5,–5|5,!x|x,2 + 2|2 * 2,C++|C,5%|5,3-4|34,1.5|15,?|!,a b|ab"
    for pair in pairs.split(","):
        one, other = pair.split("|")
        assert bare(one) != bare(other), pair


@given(st.text())
def test_bare_is_bare_and_empty_only_of_blanks(text):
    assert bare(bare(text)) == bare(text)
    assert bool(bare(text)) == bool(text.strip())
