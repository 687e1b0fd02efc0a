"""What the model card of a chosen checkpoint tells of it: accuracy, speed, and other text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from trimllm_paper.choices import Answers
from trimllm_paper.own.choice import tokens_per_second
from trimllm_paper.recipe import FULL_FT, PRETRAINED, place_of
from trimllm_paper.records import Evaluation, Throughput

NAMES = {FULL_FT: "fully fine-tuned", PRETRAINED: "before fine-tuning"}


def measured(files: Sequence[str | Path], recipe: str) -> list[str]:
    """Lines of the card.

    Args:
        files: records of answers and evaluations, of the pretrained, the fully fine-tuned and the
            chosen model, and measurements of speed.
        recipe: the chosen one.
    """
    kinds: dict[str, list[str | Path]] = {}
    for file in files:
        kinds.setdefault(place_of(file).kind, []).append(file)
    answers = {one.recipe: one for one in map(Answers.read, kinds.pop("answers"))}
    timings = [Throughput.read(file) for file in kinds.pop("throughput", ())]
    tests: dict[str, dict[str, Evaluation]] = {}
    for each in kinds.values():
        for one in map(Evaluation.read, each):
            tests.setdefault(one.task, {})[one.recipe] = one
    others = {other: name for other, name in NAMES.items() if other != recipe}
    lines = []
    for task, found in tests.items():
        own = found[recipe]
        beside = ", ".join(f"{name} {_percent(found[o]):.1f}%" for o, name in others.items())
        what = "F1 of words" if own.answers else "Accuracy"
        line = f"{what} on {own.n} test documents of {task}: {_percent(own):.1f}% ({beside})"
        if own.answers:
            line += f"; perplexity of the right answers {own.answers.perplexity:.1f}"
        lines.append(line)
    if timings and recipe in (speeds := tokens_per_second(timings)):
        full = "" if recipe == FULL_FT else f" (fully fine-tuned {speeds[FULL_FT]:.0f})"
        where = f"one text at a time in PyTorch on {timings[0].hardware}"
        lines.append(f"Speed: {speeds[recipe]:.0f} tokens/s{full}, {where}")
    beside = ", ".join(f"{name} {answers[o].perplexity:.1f}" for o, name in others.items())
    value = answers[recipe].perplexity
    told = f"Outside of its domain: perplexity {value:.1f} on neutral English text ({beside})"
    return [*lines, told]


def _percent(tested: Evaluation) -> float:
    """Accuracy; of free answers, which hardly ever match exactly, the F1 of words."""
    return tested.answers.token_f1 if tested.answers else tested.acc
