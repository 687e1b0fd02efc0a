"""Domains are split so that no question is in two splits, the same way every time."""

import json
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wheels import lines, question_rows

from trimllm.base.errors import UserError
from trimllm.data import read_documents
from trimllm.data.prepare import prepare

FIELDS = {"question": "question", "choices": "choices", "answer": "answer"}
LIMITS = {"test": 20, "held_back": 6, "calibration": 8}
FIRST_SEED = {
    **{"train": "0a998214", "calibration": "7f5479f5", "held_back": "a8b092f1"},
    "tests/some_test": "8974b02c",
}
"""Beginnings of hashes of what seed 0 prepares of `domain`: kept results name such hashes."""


def from_file(folder, name, rows, **options):
    (folder / f"{name}.jsonl").write_text(lines(rows))
    return {"from": [{"file": str(folder / f"{name}.jsonl")}], "fields": FIELDS, **options}


def free_set(folder, name, pairs, kind="free"):
    rows = [{"question": question, "answer": answer} for question, answer in pairs]
    fields = {"question": "question", "answer": "answer"}
    return from_file(folder, name, rows, fields=fields, construct={"kind": kind})


@pytest.fixture
def domain(tmp_path):
    """One set for all: 60 questions, each twice, and 3 exact copies; another to calibrate on."""
    rows = question_rows(60)
    rows += [{**row, "choices": [*row["choices"], "other"]} for row in rows] + rows[:3]
    sets = {"all": from_file(tmp_path, "rows", rows)}
    sets["validation"] = from_file(tmp_path, "validation", question_rows(40, "v"))
    return {"label": "Some", "sets": sets, "train": "all", "tests": {"some_test": {"set": "all"}}}


def run(spec, folder, seed=0, constructions=None, **limits):
    limits = LIMITS | limits
    return prepare(spec, folder / "out", seed=seed, limits=limits, constructions=constructions)


def read_all(folder):
    names = ("train", "calibration", "held_back", "tests/some_test")
    return [read_documents(folder / "out" / f"{name}.jsonl") for name in names]


def test_one_set_is_split_by_question(domain, tmp_path):
    report = run(domain, tmp_path)
    splits = read_all(tmp_path)
    assert [len(part) for part in splits] == [86, 8, 6, 20]
    prompts = [{document.prompt for document in part} for part in splits]
    assert sum(map(len, prompts)) == len(set().union(*prompts)) == 60
    assert report["sets"]["all"]["duplicates_removed"] == 3
    assert report["sets"]["all"]["rows_read"] == 123
    assert json.loads((tmp_path / "out" / "report.json").read_text()) == report
    files = report["files"]
    assert {name.removesuffix(".jsonl"): one[:8] for name, one in files.items()} == FIRST_SEED
    assert run(domain, tmp_path)["files"] == files != run(domain, tmp_path, seed=1)["files"]


@pytest.mark.parametrize("calibration", [None, "validation"])
def test_tests_and_held_back_documents_are_the_same_under_every_seed(domain, tmp_path, calibration):
    """And drawn: kept results are of these. What is left is the same documents, elsewhere."""
    splits = []
    for seed in range(4):
        run(domain | {"calibration": calibration}, tmp_path, seed=seed, calibration=6)
        splits.append(read_all(tmp_path))
    train, calibrated, held_back, test = zip(*splits, strict=True)
    assert all(one == test[0] for one in test) and all(one == held_back[0] for one in held_back)
    prompts = [document.prompt for document in test[0]]
    assert prompts != sorted(prompts) and len(set(prompts)) > 6
    left = [{one.hash for one in (*a, *b)} for a, b in zip(train, calibrated, strict=True)]
    if calibration is None:  # else of 34 documents other ones
        assert all(one == left[0] for one in left)
    assert all(len({*map(tuple, split)}) == 4 for split in (train, calibrated))


@given(size=st.integers(4, 60), seed=st.integers(0, 3), limits=st.tuples(*[st.integers(1, 30)] * 3))
@settings(max_examples=25)
def test_splits_share_no_question_and_lose_no_document(size, seed, limits):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        spec = {"label": "Some", "train": "all", "tests": {"some_test": {"set": "all"}}}
        spec["sets"] = {"all": from_file(folder, "all", question_rows(size))}
        names = dict(zip(("test", "held_back", "calibration"), limits, strict=True))
        if size < names["test"] + min(names["held_back"], 4) + min(names["calibration"], 4) + 8:
            with pytest.raises(UserError, match=f"set all: {size} documents .* are too few"):
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
    domain["tests"]["second"] = {"set": "all", "documents": 10}
    run(domain, tmp_path)
    folder = tmp_path / "out/tests"
    first, second = ({d.prompt for d in read_documents(path)} for path in sorted(folder.iterdir()))
    assert len(first) == 5 and not first & second


def test_rows_that_do_not_parse_are_named_and_many_are_refused(domain, tmp_path):
    domain["sets"]["all"] = from_file(tmp_path, "rows", [*question_rows(99), "{"])
    report = run(domain, tmp_path)["sets"]["all"]
    assert report["rows_failed"] == 1
    assert report["rows_failed_examples"] == ["rows.jsonl:100 (not JSON)"]
    wrong = {"question": "q", "choices": ["a", "b"], "answer": 7}
    domain["sets"]["all"] = from_file(tmp_path, "rows", [*question_rows(10), wrong])
    reason = r"1 of 11 rows do not parse, .*rows.jsonl:11 \(answer 7 of 2 choices"
    with pytest.raises(UserError, match=reason):
        run(domain, tmp_path)


def test_a_calibration_document_that_is_a_test_document(domain, tmp_path):
    mixed = question_rows(20, "c") + question_rows(2)
    domain["sets"]["mixed"] = from_file(tmp_path, "mixed", mixed)
    domain |= {"train": "validation", "calibration": "mixed"}
    with pytest.raises(UserError, match="calibration: 2 of the 22 documents of set mixed"):
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
    questions = [f"what is {i}" for i in range(40)]
    domain["sets"] = {  # another free answer makes no other question
        "train": free_set(tmp_path, "train", [(q, f"one {q}") for q in questions]),
        "test": free_set(tmp_path, "test", [(q, "two") for q in (*questions[7:10], *"abcdefg")]),
    }
    with pytest.raises(UserError, match=r"train: 3 of the 40 .*train.jsonl:8 is test.jsonl:1"):
        run(domain, tmp_path)


def test_free_answers_train_beside_choices_that_are_drawn(domain, tmp_path):
    """By a construction of one's own: of one prompt each row counts once, whatever is drawn."""

    def drawn(rows, spec, rng):
        return [replace(r, choices=(r.answer_text, "no"), answer=0, drawn=True) for r in rows]

    pairs = [(f"q{i}", f"a{i}") for i in range(50)]
    domain["sets"]["text"] = free_set(tmp_path, "text", pairs)
    domain["sets"]["mixed"] = free_set(tmp_path, "mixed", [*pairs, ("q1", "other")], "pair")
    domain |= {"train": "text", "calibration": "mixed"}
    report = run(domain, tmp_path, constructions={"pair": drawn})
    assert report["sets"]["mixed"]["duplicates_removed"] == 1
    train, calibration, held_back, _ = read_all(tmp_path)
    assert {len(document.choices) for document in train} == {1}
    assert {len(document.choices) for document in calibration + held_back} == {2}
    assert not {d.prompt for d in train} & {d.prompt for d in calibration + held_back}


def test_labelled_text(domain, tmp_path):
    rows = [{"text": f"text {i}", "label": ["bad", "good", "good"][i % 3]} for i in range(90)]
    rules = {"fields": {"question": "text", "label": "label"}}
    domain["sets"]["all"] = from_file(tmp_path, "rows", rows, construct={"kind": "label"}, **rules)
    run(domain, tmp_path)
    assert Counter(d.answer for d in read_all(tmp_path)[-1]) == {0: 7, 1: 13}
    assert {d.choices for part in read_all(tmp_path) for d in part} == {(" bad", " good")}
    domain["sets"]["all"]["construct"] = {"kind": "label", "labels": {"b": "bad", "w": "worse"}}
    with pytest.raises(UserError, match="sets.all: no document has the class w; see labels"):
        run(domain, tmp_path)


def test_a_domain_without_a_training_set_has_tests_only(domain, tmp_path):
    del domain["train"]
    report = run(domain, tmp_path)
    assert set(report["splits"]) == {"tests/some_test"} == {f[:-6] for f in report["files"]}
    assert len(read_documents(tmp_path / "out" / "tests/some_test.jsonl")) == 20
