"""Choose a checkpoint by the user's requirements, on held-back documents alone.

Requirements are a share of full fine-tuning's accuracy, a size and a speed, one or several. Of the
candidates that meet all, the smallest is chosen if an accuracy is required, else the most accurate;
if none does, the one that misses by the smallest sum of relative shortfalls. Tests play no part, so
the chosen checkpoint's test accuracy is no maximum over several.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from trimllm.base.errors import UserError
from trimllm_paper.recipe import FULL_FT, PRETRAINED, place_of
from trimllm_paper.records import Answers, Candidate, Epoch, Evaluation, Throughput, Training

ABOVE, SIZE, SPEED = "above_percent", "megabytes", "tokens_per_second"
WORDS = {
    ABOVE: "smallest above {:g}% of full fine-tuning",
    SIZE: "at most {:g} MB",
    SPEED: "at least {:g} tokens/s",
}
NAMES = {FULL_FT: "fully fine-tuned", PRETRAINED: "before fine-tuning"}  # on a card
MB = 1e6
ROUNDING = 1e-9  # shortfalls below this share


def candidates(
    trainings: Sequence[str], epochs: Sequence[str], timings: Sequence[str], format: str
) -> list[Candidate]:
    """Accuracy, size (of an export in a format) and speed of every checkpoint, in the order of
    `trainings`, the records beside their weights. Held-back scores of the epochs that trimmed ones
    were annealed from count where annealing has none."""
    from trimllm.exporting.run import expected_bytes  # needs torch

    states = map(Epoch.read, epochs)
    scores = {one.recipe.replace("/state_", "/drop_"): one.held_back for one in states}
    speeds = tokens_per_second(map(Throughput.read, timings))
    result = []
    for path in trainings:
        record = Training.read(path)
        score = scores.get(record.recipe)
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
    """Fields of `records.Choice`: recipe, what is missed, and both in one line. Full fine-tuning is
    the first candidate; required are one or more of the keys of `WORDS`."""
    full = candidates[0]

    def rank(one: Candidate) -> tuple[float, ...]:
        shortfall = sum(missed(one, full, required).values())
        if ABOVE in required:
            return shortfall, one.bytes, -one.likelihood
        return shortfall, -one.accuracy, -one.likelihood, one.bytes

    def facts(one: Candidate) -> str:
        share = f"{100 * one.accuracy / full.accuracy:.0f}%" if full.accuracy else "(none right)"
        accuracy = f"{share} of full fine-tuning's {measure(one)}"
        size, speed = f"{one.bytes / MB:.0f} MB", f"{one.tokens_per_second:.0f} tokens/s"
        return f"{one.recipe} ({accuracy}, {size}, {speed})"

    one = min(candidates, key=rank)
    lacking = missed(one, full, required)
    words = [WORDS[key].format(value) for key, value in required.items()]
    wish = ", ".join(words if ABOVE in required else ["most accurate", *words])
    result = f"chosen: {facts(one)} by {one.documents} held-back documents"
    if lacking:
        names = {ABOVE: measure(one), SIZE: "size", SPEED: "speed"}
        short = ", ".join(f"{names[key]} by {share:.0%}" for key, share in lacking.items())
        nearest = result.removeprefix("chosen: ")
        result = f"no checkpoint meets it, nearest: {nearest}; it misses {short}"
    if near := nearest_trimmed(candidates, one, required):
        result += f"; nearest trimmed: {facts(near)}"
    return {"recipe": one.recipe, "missed": lacking, "summary": f"required: {wish}; {result}"}


def card_lines(files: Sequence[str], timings: Sequence[str], recipe: str) -> list[str]:
    """Lines of an export's model card, by records of answers, evaluations and speed of the
    pretrained, the fully fine-tuned and the chosen model."""
    kinds = {file: place_of(file).kind for file in files}
    answers = [Answers.read(file) for file in files if kinds[file] == "answers"]
    tests = [Evaluation.read(file) for file in files if kinds[file] == "evaluation"]
    result = []
    for own in (one for one in tests if one.recipe == recipe):
        same = [one for one in tests if one.task == own.task]
        name, values = "Accuracy", {one.recipe: one.acc for one in same}
        if own.answers:  # free answers hardly ever match exactly
            name = "F1 of words"
            values = {one.recipe: one.answers["token_f1"] for one in same if one.answers}
        shown = _beside(values, recipe, "%")
        result.append(f"{name} on {own.n} test documents of {own.task}: {shown}")
    if records := [Throughput.read(file) for file in timings]:
        speeds = _beside(tokens_per_second(records), recipe, " tokens/s")
        result.append(f"Speed: {speeds}, one text at a time in PyTorch on {records[0].hardware}")
    other = {one.recipe: one.perplexity for one in answers}
    return [*result, f"Perplexity on neutral English text: {_beside(other, recipe)}"]


def _beside(values: Mapping[str, float], recipe: str, unit: str = "") -> str:
    """A recipe's value, and in brackets those of the full models."""
    names = {one: name for one, name in NAMES.items() if one in values and one != recipe}
    others = [f"{name} {values[one]:.1f}{unit}" for one, name in names.items()]
    return f"{values[recipe]:.1f}{unit}" + (f" ({', '.join(others)})" if others else "")
