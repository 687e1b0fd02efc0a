from __future__ import annotations

import random

import pytest

from trimllm.data import Document
from trimllm.data.bag_of_words import accuracy

KINDS = {"animal": ["dog", "cat", "horse"], "plant": ["oak", "rose"], "tool": ["saw", "axe"]}


def classes(count: int, seed: int, known: bool) -> list[Document]:
    """Which kind a word is of, two of three offered: by its prompt, or by nothing at all."""
    rng = random.Random(seed)
    documents = []
    for _ in range(count):
        offered, answer = rng.sample(sorted(KINDS), 2), rng.randrange(2)
        word = rng.choice(KINDS[offered[answer]]) if known else "it"
        documents.append(Document(f"A {word} is", tuple(f" {k}" for k in offered), answer))
    return documents


def pairs(count: int, seed: int, known: bool) -> list[Document]:
    """One of four numbers, never the same one right twice; the prompt repeats it or does not."""
    rng = random.Random(seed)
    documents = []
    for number in range(count):
        texts = [f" n{seed}x{number}x{rng.randrange(1000)}x{index}" for index in range(4)]
        answer = rng.randrange(4)
        documents.append(Document(f"Repeat{texts[answer] if known else ''}:", tuple(texts), answer))
    return documents


@pytest.mark.parametrize("make, chance", [(classes, 50), (pairs, 25)])
def test_it_answers_what_words_give_away_and_nothing_else(make, chance) -> None:
    assert accuracy(make(200, 0, known=True), make(200, 1, known=True)) > 95
    assert abs(accuracy(make(200, 0, known=False), make(400, 1, known=False)) - chance) < 12


@pytest.mark.parametrize("choices", [(" this",), (" this", " that")])
def test_without_wrong_answers_to_learn_from_there_is_none(choices) -> None:
    assert accuracy([Document("Say", choices, 0)] * 20, pairs(10, 1, known=True)) is None
