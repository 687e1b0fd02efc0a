"""The constructions of the embedded stand-ins: questions that a small model can learn, out of data
whose own task it cannot. Wrong choices are drawn from rows nearby in the drawn order, most of which
come into the same split: drawn from all, wrong ones of tests would be right ones of training, and a
model that memorized these would be misled. Leave out questions that ask what is not so by
`question.without`: every wrong choice would be right.
"""

import math
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from html import unescape
from typing import Any

from trimllm.data.construct import REPEATED, Construction, parts_of, tidy
from trimllm.data.document import bare
from trimllm.data.rows import Row, RowError

CHOICES = 4
NEAR = 100  # rows before and after one, from which its wrong choices are drawn
WORDS = (9, 16)  # of a sentence that is cut in two, at least and at most
END = 5  # words to choose: as many of every sentence, so that their number tells nothing
_TAG = re.compile(r"</?[a-zA-Z][^<>]*>")
_STOP = re.compile(r"(?<=[a-z0-9)][.?!])\s+(?=[A-Z])")
# An abbreviation at the end, or a name as short: the sentence goes on.
_SHORT = re.compile(r"\b(?:[A-Z][a-z]{0,4}|vs?|etc|al|cf|no|pp?|e\.g|i\.e|[ap]\.m)\.$")


def answers(rows: Sequence[Row], spec: Mapping[str, Any], rng: random.Random) -> list[Row | str]:
    """Each row with its own answer among those of rows nearby, or why it is left out. A prompt
    stands once, as its first row answers it: no wrong choice is another right answer."""
    count = spec["construct"].get("choices") or CHOICES
    results: list[Row | str] = []
    seen: set[str] = set()
    for row in rows:
        try:
            results.append(_once(row, spec, seen))
        except RowError as reason:
            results.append(str(reason))
    kept = [(number, row) for number, row in enumerate(results) if isinstance(row, Row)]
    offered = [row.answer_text for _, row in kept]
    bared = [bare(text) for text in offered]
    for place, (number, row) in enumerate(kept):
        around = slice(max(0, place - NEAR), place + NEAR + 1)
        near = dict(zip(bared[around], offered[around], strict=True))
        near.pop(bared[place], None)
        if len(near) < count - 1:
            results[number] = "too few other texts"
            continue
        choices = [row.answer_text, *rng.sample(sorted(near.values()), count - 1)]
        rng.shuffle(choices)
        right = choices.index(row.answer_text)
        results[number] = replace(row, choices=tuple(choices), answer=right, drawn=True)
    return results


def _once(row: Row, spec: Mapping[str, Any], seen: set[str]) -> Row:
    """A row with the text that is to be chosen; `RowError` where it is left out."""
    try:
        text = tidy(row.answer_text, spec["construct"].get("texts", {}))
    except RowError:
        raise RowError("no text to choose") from None
    prompt = parts_of(row, spec)["prompt"]
    if len(prompt) + len(text) > (spec.get("max_characters") or math.inf):
        raise RowError("too long")
    if (content := bare(prompt)) in seen:
        raise RowError(REPEATED)
    seen.add(content)
    return replace(row, answer_text=text)


def continuations(
    rows: Sequence[Row], spec: Mapping[str, Any], rng: random.Random
) -> list[Row | str]:
    """The beginnings of the rows' sentences, each with its end among those of others."""
    return answers([half for row in rows for half in halves(row)], spec, rng)


def halves(row: Row) -> Iterator[Row]:
    """The sentences of a row's text, of 9 to 16 words, each cut before its last 5; all of one
    group. Tags of HTML go."""
    for sentence in _sentences(unescape(_TAG.sub(" ", row.question))):
        words = sentence.split()
        if WORDS[0] <= len(words) <= WORDS[1]:
            first, rest = " ".join(words[:-END]), " ".join(words[-END:])
            yield replace(row, question=first, answer_text=rest, group=bare(row.question))


def _sentences(text: str) -> Iterator[str]:
    """A text in sentences, not cut after an abbreviation (v., Dr., Inc., e.g.)."""
    begun = ""
    for part in _STOP.split(text):
        begun = f"{begun} {part}".strip()
        if not _SHORT.search(begun):
            yield begun
            begun = ""
    if begun:
        yield begun


CONSTRUCTIONS: dict[str, Construction] = {"answer": answers, "continuation": continuations}
