"""Measurements on the model card of an exported checkpoint: accuracy, speed, and other text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trimllm_paper.own.choice import tokens_per_second
from trimllm_paper.recipe import FULL_FT, PRETRAINED, place_of
from trimllm_paper.records import Answers, Evaluation, Throughput

KINDS: dict[str, Any] = {"answers": Answers, "throughput": Throughput, "evaluation": Evaluation}
NAMES = {FULL_FT: "fully fine-tuned", PRETRAINED: "before fine-tuning"}


def measured(files: Sequence[str | Path], recipe: str) -> list[str]:
    """Lines of the card.

    Args:
        files: records of answers and evaluations of the pretrained, the fully fine-tuned and the
            chosen model, and measurements of speed.
        recipe: the chosen one.
    """
    records = [KINDS[place_of(file).kind].read(file) for file in files]
    answers, timings, tests = (
        [one for one in records if isinstance(one, kind)] for kind in KINDS.values()
    )
    lines = []
    for own in (one for one in tests if one.recipe == recipe):
        # Free answers hardly ever match exactly.
        values = {
            one.recipe: one.answers.token_f1 if one.answers else one.acc
            for one in tests
            if one.task == own.task
        }
        what = "F1 of words" if own.answers else "Accuracy"
        line = f"{what} on {own.n} test documents of {own.task}: {_beside(values, recipe, '%')}"
        if own.answers:
            line += f"; perplexity of the right answers {own.answers.perplexity:.1f}"
        lines.append(line)
    if timings and recipe in (speeds := tokens_per_second(timings)):
        where = f"one text at a time in PyTorch on {timings[0].hardware}"
        lines.append(f"Speed: {_beside(speeds, recipe, ' tokens/s')}, {where}")
    other = {one.recipe: one.perplexity for one in answers}
    return [*lines, f"Perplexity on neutral English text: {_beside(other, recipe)}"]


def _beside(values: dict[str, float], recipe: str, unit: str = "") -> str:
    """A recipe's value, and in brackets those of the full models."""
    names = {one: name for one, name in NAMES.items() if one in values and one != recipe}
    others = [f"{name} {values[one]:.1f}{unit}" for one, name in names.items()]
    return f"{values[recipe]:.1f}{unit}" + (f" ({', '.join(others)})" if others else "")
