"""What an engine and transformers must agree on, and whether they do.

Both are asked the same: tokens of held-back texts, log-probabilities at some places of them, and 64
tokens of greedy generation with a cache. A question is one JSON file, a list of answers another;
whoever answers runs in a process of its own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from trimllm.base.errors import UserError
from trimllm.compress.proof import HeldBack, scored_rows

TOP = 5
"""So many of the likeliest tokens of a place are compared."""
ASKED = 64
"""So many log-probabilities an engine is asked for: these must be among them."""
PLACES = 6
"""Places of a text at which log-probabilities are compared."""
GREEDY = 64
"""Tokens of greedy generation."""
TIE = 1e-3
"""Two logits so close may change places."""
EXACT = ("f32", "vllm", "padded")
"""Formats that compute in float32: greedy generation is the same."""
LIMITS = {
    **{exact: (0.02, 0.02) for exact in EXACT},
    "f16": (0.05, 0.02),
    "bf16": (0.2, 0.1),
}
"""Largest and mean difference of log-probabilities, nats, by format. llama.cpp rounds what goes
into a product to the type of its matrix: SmolLM2's right files differ by 0.0002, 0.019, 0.09."""
GROWTH = {"q8_0": 0.05, "q6_k": 0.05, "q4_k": 0.25, "q4_0": 0.25}
"""By how much more, nats a token, the loss may grow by rounding than that of the untrimmed model,
and by how much the engine's may differ from that of the same rounding in transformers."""
SHARE = 0.01
"""Share of a loss by which it may differ besides: a trimmed model's is 27 nats on foreign texts."""
TEXTS = (
    "The lighthouse keeper climbed the 217 steps every evening, and every morning he came down.",
    "Question: What do plants take in from the air to make sugar?\nAnswer: carbon dioxide",
    "In 1969, two people walked on the Moon; about 600 million watched them on television.",
    "def area(radius):\n    return 3.14159 * radius ** 2\n\nprint(area(10))",
    "Der Fluss fließt langsam durch das weite Tal – naïve cafés, 42 Boote, und 7 Brücken.",
    "A contract is an agreement between parties that creates duties, which a court enforces.",
)
"""What is asked where nobody holds texts back: prose, a question, numbers, code, umlauts."""


@dataclass
class Question:
    """What is asked.

    Attributes:
        rows: token ids, and the places whose next token is scored.
        texts: that are cut into tokens.
        prompt: token ids that generation goes on from.
    """

    rows: list[tuple[list[int], list[int]]]
    texts: list[str]
    prompt: list[int]
    top: int = ASKED
    greedy: int = GREEDY

    @property
    def longest(self) -> int:
        """Tokens of the longest text, those that are generated among them."""
        rows = [len(ids) + 1 for ids, _ in self.rows]
        return max([len(self.prompt) + self.greedy, *rows])


@dataclass
class Answer:
    """What an engine or transformers says.

    Attributes:
        places: by row and place, the likeliest tokens' log-probabilities (nats) by token.
        targets: by row and place, that of the token that follows.
        tokens: of each text.
        greedy: generated tokens; an engine may stop at an end of text.
        gaps: at each generated token, by how much its logit is ahead of the next one's;
            transformers alone.
        engine: name and version.
    """

    places: list[list[dict[int, float]]]
    targets: list[list[float]]
    tokens: list[list[int]]
    greedy: list[int]
    gaps: list[float] = field(default_factory=list)
    engine: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, content: dict[str, Any]) -> Answer:
        """From JSON, whose keys are texts."""
        places = [
            [{int(token): value for token, value in place.items()} for place in row]
            for row in content["places"]
        ]
        return cls(**content | {"places": places})

    @property
    def loss(self) -> float:
        """Mean negative log-likelihood of the tokens that follow, nats a token."""
        values = [-value for row in self.targets for value in row]
        return math.fsum(values) / len(values)


def question(tokenizer: Any, held_back: Sequence[HeldBack], longest: int) -> Question:
    """What is asked about held-back texts, or prompts with their answers, cut to `longest` tokens.

    Raises `UserError` where they hold nothing that can be scored.
    """
    rows = []
    for ids, first in scored_rows(tokenizer, held_back, longest):
        count = min(PLACES, len(ids) - first)
        # The last of them are the answer's end, or the text's.
        spread = {first + (len(ids) - 1 - first) * i // max(1, count - 1) for i in range(count)}
        if spread:
            rows.append((list(ids), sorted(spread)))
    if not rows:
        raise UserError("the held-back texts hold no two tokens in a row; give longer texts")
    texts = [one if isinstance(one, str) else "".join(one) for one in held_back]
    ids, places = rows[0]
    room = max(1, longest - GREEDY)
    return Question(rows, texts, ids[: places[0]][-room:], greedy=min(GREEDY, longest - 1))


def differences(engine: Answer, reference: Answer) -> list[float]:
    """At each place, the largest difference of the likeliest tokens' log-probabilities, nats.

    A token that the engine does not name among its own counts as infinitely wrong.
    """
    found = []
    for theirs, ours in zip(engine.places, reference.places, strict=True):
        for their, our in zip(theirs, ours, strict=True):
            top = sorted(our, key=our.__getitem__, reverse=True)[:TOP]
            apart = [abs(their.get(token, -math.inf) - our[token]) for token in top]
            found.append(math.inf if any(map(math.isnan, apart)) else max(apart))
    return found


def first_difference(engine: Answer, reference: Answer, ends: Sequence[int]) -> int | None:
    """Number of the generated token where the engine goes another way without a tie; None if it
    never does. An engine that stops where transformers, too, ends the text (`ends`) is right."""
    for number, (our, gap) in enumerate(zip(reference.greedy, reference.gaps, strict=True)):
        if number >= len(engine.greedy):
            return None if our in ends or gap < TIE else number
        if engine.greedy[number] != our:
            return None if gap < TIE else number
        if our in ends:
            return None
    return None


def judge(
    variant: str,
    engine: Answer,
    reference: Answer,
    *,
    texts: Sequence[str],
    ends: Sequence[int],
    rounded: Answer | None = None,
    untrimmed: tuple[float, float] | None = None,
) -> dict[str, Any]:
    """What the proof of an export says of it.

    Args:
        variant: "f16", "q4_0", ..., "vllm" or "padded".
        engine, reference: what the engine and transformers say of the checkpoint.
        texts: of the question.
        ends: tokens that end a text.
        rounded: what transformers says of the same weights, rounded as the file's are.
        untrimmed: loss of the untrimmed model, and with its weights rounded the same way.

    Raises:
        UserError: they do not agree.
    """
    broken = f"the export as {variant} is broken and was not kept"
    for text, theirs, ours in zip(texts, engine.tokens, reference.tokens, strict=True):
        if theirs != ours:
            raise UserError(f"{broken}: the engine cuts {text[:60]!r} into other tokens")
    yardstick = rounded or reference
    apart = differences(engine, yardstick)
    other_way = first_difference(engine, yardstick, ends)
    mean_difference = math.fsum(apart) / len(apart)
    loss = {"checkpoint": reference.loss, "engine": engine.loss}
    found = {
        "places": len(apart),
        "largest_difference": max(apart),
        "mean_difference": mean_difference,
        "loss": loss,
        "greedy_tokens": len(engine.greedy),
        "greedy_differs_at": other_way,
    }
    if rounded is not None:
        loss["rounded"] = rounded.loss
        found["growth_allowed"] = None  # nobody said what the untrimmed model's is
        margin = GROWTH[variant]
        # Written so that what is no number fails.
        if not abs(engine.loss - rounded.loss) <= margin + SHARE * rounded.loss:
            raise UserError(
                f"{broken}: its loss in the engine is {engine.loss:.3f}, that of the same weights "
                f"in transformers {rounded.loss:.3f}"
            )
        if untrimmed is not None:
            allowed = max(0.0, untrimmed[1] - untrimmed[0]) + margin
            found["growth_allowed"] = allowed
            loss |= {"untrimmed": untrimmed[0], "untrimmed_rounded": untrimmed[1]}
            if not engine.loss - reference.loss <= allowed:
                raise UserError(
                    f"{broken}: rounding raises its loss by {engine.loss - reference.loss:.3f} "
                    f"nats a token, and {allowed:.3f} is allowed (the untrimmed model's growth and "
                    f"{margin:g}); take a wider type"
                )
        return found
    largest, mean = LIMITS[variant]
    if not (max(apart) <= largest and mean_difference <= mean):
        raise UserError(
            f"{broken}: log-probabilities differ by up to {max(apart):.3f} nats from those in "
            f"transformers, by {mean_difference:.3f} in the mean; {largest:g} and "
            f"{mean:g} are allowed"
        )
    if variant in EXACT and other_way is not None:
        raise UserError(f"{broken}: greedy generation goes another way at token {other_way}")
    return found
