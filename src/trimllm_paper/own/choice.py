"""Which checkpoint is taken: by the wishes, and held-back documents alone.

Wished for may be a share of full fine-tuning's accuracy, a size and a speed, one or several. Of the
candidates that meet all the smallest is taken where an accuracy is wished for, else the most
accurate one; where none does, the one that misses by least, in shares of what was wished for. Test
documents are never looked at: what they say of the chosen one is no maximum over several.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from trimllm.base.errors import UserError
from trimllm_paper.choices import Candidate
from trimllm_paper.recipe import FULL_FT
from trimllm_paper.records import Epoch, Throughput, Training

ABOVE, SIZE, SPEED = "above_percent", "megabytes", "tokens_per_second"
WORDS = {
    ABOVE: "smallest above {:g}% of full fine-tuning",
    SIZE: "at most {:g} MB",
    SPEED: "at least {:g} tokens/s",
}
MB = 1e6
ROUNDING = 1e-9
"""A share by which nothing is missed: numbers are not exact."""


def candidates(
    trainings: Sequence[str], epochs: Sequence[str], timings: Sequence[str], format: str
) -> list[Candidate]:
    """What is known of every checkpoint, in the order of `trainings`.

    Args:
        trainings: records of the checkpoints, each beside its weights.
        epochs: records of the epochs that trimmed ones were annealed from; where nothing was
            trained after it, held-back documents speak of that state.
        timings: of every trimmed checkpoint beside the fully fine-tuned one.
        format: of the export whose size counts.

    Raises `UserError` for a model that cannot be had in the format.
    """
    from trimllm.exporting.run import expected_bytes  # needs torch

    states = {str(epoch.parsed.settled): epoch for epoch in map(Epoch.read, epochs)}
    speeds = tokens_per_second(map(Throughput.read, timings))
    result = []
    for path in trainings:
        record = Training.read(path)
        state = states.get(record.recipe)
        score = state.held_back if state else None
        if record.held_back:
            score = record.held_back[record.kept_pass or 0]
        if score is None:
            raise UserError(f"{path}: no held-back document speaks of it; delete it and run again")
        accuracy = score.accuracy
        if accuracy is None:  # of free answers none is right: how likely a token of them is
            accuracy = 100 * math.exp(score.likelihood)
        result.append(
            Candidate(
                recipe=record.recipe,
                free=score.accuracy is None,
                accuracy=accuracy,
                likelihood=score.likelihood,
                documents=score.documents,
                bytes=expected_bytes(Path(path).parent, format),
                tokens_per_second=speeds[record.recipe],
                units_kept=record.units_left,
            )
        )
    return result


def tokens_per_second(timings: Iterable[Throughput]) -> dict[str, float]:
    """Decoding speed by recipe: the full model's, median over all measurements, times the speedup.

    A machine is not as fast at all times, but each was timed in turn with the full model.
    """
    speedups, full = {}, []
    for one in timings:
        if one.baseline and one.speedup:
            speedups[one.recipe] = one.speedup.median
            full.append(one.baseline.model_dump()["decode_tokens_per_second"]["median"])
    speed = median(full)
    return {FULL_FT: speed} | {recipe: speed * speedup for recipe, speedup in speedups.items()}


def missed(one: Candidate, full: Candidate, wanted: Mapping[str, float]) -> dict[str, float]:
    """What a candidate does not meet, and by which share of what was wished for (above 0)."""
    shares = {}
    for key, value in wanted.items():
        least = value / 100 * full.accuracy
        shares[key] = {
            ABOVE: 1 - one.accuracy / least if least else 0.0,
            SIZE: one.bytes / (value * MB) - 1,
            SPEED: 1 - one.tokens_per_second / value,
        }[key]
    return {key: share for key, share in shares.items() if share > ROUNDING}


def choose(
    candidates: Sequence[Candidate], wanted: Mapping[str, float]
) -> tuple[Candidate, dict[str, float]]:
    """The candidate that is taken, and what of the wishes it misses (nothing: all are met).

    Args:
        candidates: full fine-tuning first.
        wanted: keys `above_percent`, `megabytes`, `tokens_per_second`; one or more.
    """
    misses = [(one, missed(one, candidates[0], wanted)) for one in candidates]
    met = [one for one, lacking in misses if not lacking]
    if not met:
        return min(misses, key=lambda each: (sum(each[1].values()), each[0].bytes))
    if ABOVE in wanted:
        return min(met, key=lambda one: (one.bytes, -one.likelihood)), {}
    return max(met, key=lambda one: (one.accuracy, one.likelihood, -one.bytes)), {}


def nearest_trimmed(
    candidates: Sequence[Candidate], one: Candidate, wanted: Mapping[str, float]
) -> Candidate | None:
    """Where the full model is taken: the trimmed one that misses the wishes by least."""
    trimmed = [each for each in candidates if each.recipe != FULL_FT]
    if one.recipe != FULL_FT or not trimmed:
        return None
    return min(trimmed, key=lambda each: sum(missed(each, candidates[0], wanted).values()))


def wishes_in_words(wanted: Mapping[str, float]) -> str:
    """The wishes: "smallest above 95% of full fine-tuning, at most 200 MB"."""
    words = [WORDS[key].format(value) for key, value in wanted.items()]
    return ", ".join(words if ABOVE in wanted else ["most accurate", *words])


def measure(one: Candidate) -> str:
    """What held-back documents are compared by."""
    return "probability of a right token" if one.free else "accuracy"


def facts_in_words(one: Candidate, full: Candidate) -> str:
    """Accuracy of a candidate against full fine-tuning's, size, speed."""
    share = f"full fine-tuning has no {measure(one)} to compare with"
    if full.accuracy:
        share = f"{100 * one.accuracy / full.accuracy:.0f}% of full fine-tuning's {measure(one)}"
    return f"{share}, {one.bytes / MB:.0f} MB, {one.tokens_per_second:.0f} tokens/s"


def decide(candidates: Sequence[Candidate], wanted: Mapping[str, float]) -> dict[str, Any]:
    """The choice, as its record has it: recipe, what is missed, and one line of both."""
    one, lacking = choose(candidates, wanted)
    words = facts_in_words(one, candidates[0])
    facts = f"{one.recipe} ({words}, by {one.documents} held-back documents)"
    result = f"chosen: {facts}"
    if lacking:
        names = {ABOVE: measure(one), SIZE: "size", SPEED: "speed"}
        short = ", ".join(f"{names[key]} by {share:.0%}" for key, share in lacking.items())
        result = f"no checkpoint meets it, nearest: {facts}; it misses {short}"
    if near := nearest_trimmed(candidates, one, wanted):
        result += f"; nearest trimmed: {near.recipe} ({facts_in_words(near, candidates[0])})"
    line = f"asked: {wishes_in_words(wanted)}; {result}"
    return {"recipe": one.recipe, "missed": lacking, "told": line}
