from __future__ import annotations

import random

from trimllm.data import Document
from trimllm.data.bag_of_words import accuracy

ANIMALS, PLANTS = (["dog", "cat", "horse", "cow"], ["oak", "rose", "tulip", "fern"])


def classes(count: int, seed: int, told: bool) -> list[Document]:
    """Which kind a word is of: told by its prompt, or by nothing at all."""
    rng = random.Random(seed)
    found = []
    for number in range(count):
        kind = rng.randrange(2)
        words = (ANIMALS, PLANTS)[kind if told else number % 2]
        choices = [" animal", " plant"]
        found.append(Document(f"A {rng.choice(words)} is", tuple(choices), kind))
    return found


def pairs(count: int, seed: int, told: bool) -> list[Document]:
    """One of four numbers, never the same one right twice; the prompt repeats it or does not."""
    rng = random.Random(seed)
    found = []
    for number in range(count):
        texts = [f" n{seed}x{number}x{rng.randrange(1000)}x{index}" for index in range(4)]
        answer = rng.randrange(4)
        found.append(Document(f"Repeat{texts[answer] if told else ''}:", tuple(texts), answer))
    return found


def test_it_finds_what_words_tell_and_nothing_where_they_tell_nothing() -> None:
    for make, chance in ((classes, 50), (pairs, 25)):
        found = accuracy(make(200, 0, told=True), make(200, 1, told=True))
        assert found is not None and found > 95, make.__name__
        blind = accuracy(make(200, 0, told=False), make(400, 1, told=False))
        assert blind is not None and abs(blind - chance) < 12, make.__name__


def test_only_offered_classes_are_answered() -> None:
    """Of four kinds two are offered, in any order: the rest must not be guessed."""
    rng = random.Random(0)
    kinds = {"animal": ANIMALS, "plant": PLANTS, "tool": ["saw", "axe"], "star": ["sun", "vega"]}

    def one() -> Document:
        offered = rng.sample(sorted(kinds), 2)
        answer = rng.randrange(2)
        word = rng.choice(kinds[offered[answer]])
        return Document(f"{word} is", tuple(f" {kind}" for kind in offered), answer)

    assert accuracy([one() for _ in range(300)], [one() for _ in range(100)]) == 100


def test_nothing_is_said_where_no_wrong_answer_is_shown() -> None:
    test = pairs(10, 1, told=True)
    assert accuracy([Document("Say", (" this",), 0)] * 20, test) is None
    assert accuracy([Document("Say", (" this", " that"), 0)] * 20, test) is None
