"""Choose a checkpoint by the user's requirements, on held-back documents alone.

Requirements are a share of full fine-tuning's accuracy, a size and a speed, one or several. Of the
candidates that meet all, the smallest is chosen if an accuracy is required, else the most accurate;
if none does, the one that misses by the smallest sum of relative shortfalls. Tests play no part, so
the chosen checkpoint's test accuracy is no maximum over several.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from trimllm.base.errors import UserError
from trimllm_paper.recipe import FULL_FT
from trimllm_paper.records import Candidate, Epoch, Throughput, Training

ABOVE, SIZE, SPEED = "above_percent", "megabytes", "tokens_per_second"
WORDS = {
    ABOVE: "smallest above {:g}% of full fine-tuning",
    SIZE: "at most {:g} MB",
    SPEED: "at least {:g} tokens/s",
}
MB = 1e6
ROUNDING = 1e-9
"""Shortfalls below this share are rounding."""


def candidates(
    trainings: Sequence[str], epochs: Sequence[str], timings: Sequence[str], format: str
) -> list[Candidate]:
    """Accuracy, size and speed of every checkpoint, in the order of `trainings`.

    Args:
        trainings: records of the checkpoints, each beside its weights.
        epochs: records of the epochs that trimmed ones were annealed from; their held-back scores
            count where annealing has none.
        timings: of every trimmed checkpoint beside the fully fine-tuned one.
        format: of the export whose size counts.
    """
    from trimllm.exporting.run import expected_bytes  # needs torch

    states = {epoch.recipe.replace("/state_", "/drop_"): epoch for epoch in map(Epoch.read, epochs)}
    speeds = tokens_per_second(map(Throughput.read, timings))
    result = []
    for path in trainings:
        record = Training.read(path)
        state = states.get(record.recipe)
        score = state.held_back if state else None
        if record.held_back:
            score = record.held_back[record.kept_pass or 0]
        if score is None:
            raise UserError(f"{path} has no held-back score; delete it and run again")
        accuracy = score.accuracy
        if accuracy is None:  # free answers: probability of a right token
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
    """Decoding speed by recipe: the full model's median over all measurements, times the speedup,
    which was measured in turn with the full model."""
    speedups, full = {}, []
    for one in timings:
        if one.baseline and one.speedup:
            speedups[one.recipe] = one.speedup["median"]
            full.append(one.baseline["decode_tokens_per_second"]["median"])
    speed = median(full)
    return {FULL_FT: speed} | {recipe: speed * speedup for recipe, speedup in speedups.items()}


def missed(one: Candidate, full: Candidate, required: Mapping[str, float]) -> dict[str, float]:
    """Requirements that a candidate does not meet, and the relative shortfall of each (above 0)."""
    least = required.get(ABOVE, 0) / 100 * full.accuracy
    shares = {
        ABOVE: 1 - one.accuracy / least if least else 0.0,
        SIZE: one.bytes / (required.get(SIZE, math.inf) * MB) - 1,
        SPEED: 1 - one.tokens_per_second / required.get(SPEED, one.tokens_per_second),
    }
    return {key: shares[key] for key in required if shares[key] > ROUNDING}


def choose(
    candidates: Sequence[Candidate], required: Mapping[str, float]
) -> tuple[Candidate, dict[str, float]]:
    """The chosen candidate, and what it misses of the requirements.

    Args:
        candidates: full fine-tuning first.
        required: keys `above_percent`, `megabytes`, `tokens_per_second`; one or more.
    """
    misses = [(one, missed(one, candidates[0], required)) for one in candidates]
    met = [one for one, lacking in misses if not lacking]
    if not met:
        return min(misses, key=lambda each: (sum(each[1].values()), each[0].bytes))
    if ABOVE in required:
        return min(met, key=lambda one: (one.bytes, -one.likelihood)), {}
    return max(met, key=lambda one: (one.accuracy, one.likelihood, -one.bytes)), {}


def nearest_trimmed(
    candidates: Sequence[Candidate], one: Candidate, required: Mapping[str, float]
) -> Candidate | None:
    """If the full model was chosen: the trimmed one that misses the requirements by least."""
    trimmed = [each for each in candidates if each.recipe != FULL_FT]
    if one.recipe != FULL_FT or not trimmed:
        return None
    return min(trimmed, key=lambda each: sum(missed(each, candidates[0], required).values()))


def measure(one: Candidate) -> str:
    """Name of the held-back metric."""
    return "probability of a right token" if one.free else "accuracy"


def decide(candidates: Sequence[Candidate], required: Mapping[str, float]) -> dict[str, Any]:
    """Fields of `records.Choice`: recipe, what is missed, and both in one line."""
    full = candidates[0]
    one, lacking = choose(candidates, required)
    words = [WORDS[key].format(value) for key, value in required.items()]
    wish = ", ".join(words if ABOVE in required else ["most accurate", *words])
    facts = f"{_facts(one, full)} by {one.documents} held-back documents"
    result = f"chosen: {facts}"
    if lacking:
        names = {ABOVE: measure(one), SIZE: "size", SPEED: "speed"}
        short = ", ".join(f"{names[key]} by {share:.0%}" for key, share in lacking.items())
        result = f"no checkpoint meets it, nearest: {facts}; it misses {short}"
    if near := nearest_trimmed(candidates, one, required):
        result += f"; nearest trimmed: {_facts(near, full)}"
    return {"recipe": one.recipe, "missed": lacking, "summary": f"required: {wish}; {result}"}


def _facts(one: Candidate, full: Candidate) -> str:
    """A candidate's recipe, accuracy against full fine-tuning's, size and speed."""
    share = f"{100 * one.accuracy / full.accuracy:.0f}%" if full.accuracy else "(none right)"
    accuracy = f"{share} of full fine-tuning's {measure(one)}"
    size, speed = f"{one.bytes / MB:.0f} MB", f"{one.tokens_per_second:.0f} tokens/s"
    return f"{one.recipe} ({accuracy}, {size}, {speed})"
