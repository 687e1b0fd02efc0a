"""Proof of an export: its engine and transformers must agree.

Both answer the same question, the engine in a fresh process: tokens of held-back texts,
log-probabilities at some positions of them, and 64 tokens of greedy generation with a cache.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trimllm.base.errors import UserError
from trimllm.compress.proof import HeldBack, scored_rows
from trimllm.exporting.engines import start
from trimllm.exporting.formats import LLAMA, VLLM

Record = dict[str, Any]

TOP, REQUESTED = 5, 64
"""Likeliest tokens of a position that are compared, and log-probabilities that an engine reports,
among which they must be."""
POSITIONS, GREEDY = 6, 64
"""Positions of a text at which log-probabilities are compared; tokens of greedy generation."""
TIE = 1e-3
"""Logits that are closer are tied."""
EXACT = ("f32", "vllm", "padded")
"""Formats that compute in float32: greedy generation is the same."""
LIMITS = dict.fromkeys(EXACT, (0.02, 0.02)) | {"f16": (0.05, 0.02), "bf16": (0.2, 0.1)}
"""Largest and mean difference of log-probabilities, nats, by format. llama.cpp rounds inputs of a
product to the type of its matrix: correct files of SmolLM2 differ by 0.0002, 0.019, 0.09."""
GROWTH = {"q8_0": 0.05, "q6_k": 0.05, "q4_k": 0.25, "q4_0": 0.25}
"""Margins of the loss of a quantized file, nats a token: over the growth that quantization causes
in the untrimmed model, and around the loss of the same quantized weights in transformers."""
SHARE = 0.01
"""Share of the loss added to the second margin: a trimmed model's is 27 nats on foreign texts."""
TEXTS = (
    "The lighthouse keeper climbed the 217 steps every evening, and every morning he came down.",
    "Question: What do plants take in from the air to make sugar?\nAnswer: carbon dioxide",
    "In 1969, two people walked on the Moon; about 600 million watched them on television.",
    "def area(radius):\n    return 3.14159 * radius ** 2\n\nprint(area(10))",
    "Der Fluss fließt langsam durch das weite Tal – naïve cafés, 42 Boote, und 7 Brücken.",
    "A contract is an agreement between parties that creates duties, which a court enforces.",
)
"""Held-back texts by default: prose, a question, numbers, code, umlauts."""


def make_question(tokenizer: Any, held_back: Sequence[HeldBack], longest: int) -> Record:
    """Question about held-back texts, or prompts with their answers, cut to `longest` tokens.

    Returns:
        `rows`: pairs of token ids and the positions whose tokens are scored; `texts` to tokenize;
        `prompt`: token ids that generation continues, and by how many, `greedy`; `top`: number of
        log-probabilities to report of a position; `longest`: tokens of the longest text.

    Raises:
        UserError: the texts have nothing to score.
    """
    rows = []
    for ids, first in scored_rows(tokenizer, held_back, longest):
        count, last = min(POSITIONS, len(ids) - first), len(ids) - 1
        if spread := {first + (last - first) * i // max(1, count - 1) for i in range(count)}:
            rows.append((list(ids), sorted(spread)))
    if not rows:
        raise UserError("the held-back texts hold no two tokens in a row; give longer texts")
    ids, positions = rows[0]
    greedy = min(GREEDY, longest - 1)
    prompt = ids[: positions[0]][-max(1, longest - GREEDY) :]
    return {
        "rows": rows,
        "texts": [one if isinstance(one, str) else "".join(one) for one in held_back],
        "prompt": prompt,
        "greedy": greedy,
        "top": REQUESTED,
        "longest": max([len(prompt) + greedy, *(len(ids) for ids, _ in rows)]),
    }


def ask(engine: str, path: str | Path, question: Record, threads: int = 1) -> Record:
    """Answer of an engine about a checkpoint or GGUF file, from a process of its own.

    Args:
        engine: "transformers", "llama_cpp" or "vllm".

    Returns:
        `likeliest`: by scored position the likeliest tokens' log-probabilities (nats), by token id
        as text; `targets`: by scored position that of the token that is there; `tokens` of each
        text; `greedy`: generated tokens, an engine may stop at an end of text; `gaps` (of
        transformers): by generated token its logit minus the next one's; `engine`: versions.
    """
    options: dict[str, Record] = {LLAMA: {"exact": True}, VLLM: {"top": REQUESTED}}
    job = {"context": question["longest"] + 8, **options.get(engine, {})}
    try:
        with start(engine, path, threads, **job) as worker:
            return worker.ask("answer", question)
    except UserError as error:
        raise UserError(f"the export does not run and was not kept: {error}") from error


def mean_loss(answer: Record) -> float:
    """Mean negative log-likelihood of the scored tokens, nats a token."""
    return -math.fsum(answer["targets"]) / len(answer["targets"])


def differences(engine: Record, reference: Record) -> list[float]:
    """By position, the largest difference of the likeliest tokens' log-probabilities, nats.

    It is infinite for a token that the engine does not report, and where a value is NaN.
    """
    largest = []
    for theirs, ours in zip(engine["likeliest"], reference["likeliest"], strict=True):
        top = sorted(ours, key=ours.__getitem__, reverse=True)[:TOP]
        apart = [abs(theirs.get(token, -math.inf) - ours[token]) for token in top]
        largest.append(math.inf if any(map(math.isnan, apart)) else max(apart))
    return largest


def first_difference(engine: Record, reference: Record, ends: Sequence[int]) -> int | None:
    """Number of the first generated token that differs without a tie; None if there is none.

    An engine may stop at a token that ends a text (`ends`).
    """
    theirs, pairs = engine["greedy"], zip(reference["greedy"], reference["gaps"], strict=True)
    for number, (ours, gap) in enumerate(pairs):
        stopped = number >= len(theirs)
        if stopped or theirs[number] != ours:
            return None if gap < TIE or (stopped and ours in ends) else number
        if ours in ends:
            return None
    return None


def judge(
    variant: str,
    answers: Sequence[Record],
    texts: Sequence[str],
    ends: Sequence[int],
    untrimmed: Sequence[float] | None = None,
) -> Record:
    """Record of a proof.

    Args:
        variant: "f16", "q4_0", ..., "vllm" or "padded".
        answers: of the engine and of transformers about the checkpoint, and for a quantized file of
            transformers with the weights quantized as in the file.
        texts: of the question.
        ends: tokens that end a text.
        untrimmed: loss of the untrimmed model, and with its weights quantized likewise.

    Raises:
        UserError: the answers differ by more than the format's margin.
    """
    engine, reference, *quantized = answers
    compared = quantized[0] if quantized else reference
    apart = differences(engine, compared)
    largest, mean = max(apart), math.fsum(apart) / len(apart)
    parts_at = first_difference(engine, compared, ends)
    loss = {"checkpoint": mean_loss(reference), "engine": mean_loss(engine)}
    record = {
        "places": len(apart),
        # None: the engine did not report a token that the reference finds likely.
        "largest_difference": largest if math.isfinite(largest) else None,
        "mean_difference": mean if math.isfinite(mean) else None,
        "loss": loss,
        "greedy_tokens": len(engine["greedy"]),
        "greedy_differs_at": parts_at,
        "engine": engine["engine"],
        "reference": reference["engine"],
    }
    why = None
    tokens = zip(texts, engine["tokens"], reference["tokens"], strict=True)
    if split := [text for text, theirs, ours in tokens if theirs != ours]:
        why = f"the engine splits {split[0][:60]!r} into other tokens"
    elif quantized:
        loss["rounded"] = mean_loss(compared)
        record["growth_allowed"], why = _growth(variant, loss, untrimmed)
    elif not (largest <= (limit := LIMITS[variant])[0] and mean <= limit[1]):  # a NaN fails
        why = (
            f"log-probabilities differ by up to {largest:.3f} nats from transformers', by "
            f"{mean:.3f} on average; {limit[0]:g} and {limit[1]:g} are allowed"
        )
    elif variant in EXACT and parts_at is not None:
        why = f"greedy generation differs from token {parts_at} on"
    if why:
        raise UserError(f"the export as {variant} is broken and was not kept: {why}")
    return record


def _growth(
    variant: str, loss: dict[str, float], untrimmed: Sequence[float] | None
) -> tuple[float | None, str | None]:
    """Growth of the loss that is allowed by the untrimmed model's, and why a file is refused."""
    margin = GROWTH[variant]
    if not abs(loss["engine"] - loss["rounded"]) <= margin + SHARE * loss["rounded"]:
        return None, (
            f"its loss in the engine is {loss['engine']:.3f}, that of the same weights in "
            f"transformers {loss['rounded']:.3f}"
        )
    if untrimmed is None:
        return None, None
    loss["untrimmed"], loss["untrimmed_rounded"] = untrimmed
    allowed = max(0.0, untrimmed[1] - untrimmed[0]) + margin
    if (growth := loss["engine"] - loss["checkpoint"]) <= allowed:
        return allowed, None
    return allowed, (
        f"quantization raises its loss by {growth:.3f} nats a token, {allowed:.3f} is allowed "
        f"(the untrimmed model's growth and {margin:g}); choose a wider type"
    )
