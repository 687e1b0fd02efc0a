"""Measurements on the model card of an exported checkpoint: accuracy, speed, and other text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from trimllm_paper.own.choice import tokens_per_second
from trimllm_paper.recipe import FULL_FT, PRETRAINED, place_of
from trimllm_paper.records import Answers, Evaluation, Throughput

NAMES = {FULL_FT: "fully fine-tuned", PRETRAINED: "before fine-tuning"}


def measured(files: Sequence[str | Path], timings: Sequence[str | Path], recipe: str) -> list[str]:
    """Lines of the card.

    Args:
        files: records of answers and evaluations of the pretrained, the fully fine-tuned and the
            chosen model.
        timings: measurements of speed.
        recipe: the chosen one.
    """
    kinds = {file: place_of(file).kind for file in files}
    answers = [Answers.read(file) for file in files if kinds[file] == "answers"]
    tests = [Evaluation.read(file) for file in files if kinds[file] == "evaluation"]
    lines = []
    for own in (one for one in tests if one.recipe == recipe):
        same = [one for one in tests if one.task == own.task]
        name, values = "Accuracy", {one.recipe: one.acc for one in same}
        if own.answers:  # free answers hardly ever match exactly
            name = "F1 of words"
            values = {one.recipe: one.answers.token_f1 for one in same if one.answers}
        lines.append(
            f"{name} on {own.n} test documents of {own.task}: {_beside(values, recipe, '%')}"
        )
    if timings:
        records = [Throughput.read(file) for file in timings]
        speeds = _beside(tokens_per_second(records), recipe, " tokens/s")
        lines.append(f"Speed: {speeds}, one text at a time in PyTorch on {records[0].hardware}")
    other = {one.recipe: one.perplexity for one in answers}
    return [*lines, f"Perplexity on neutral English text: {_beside(other, recipe)}"]


def _beside(values: Mapping[str, float], recipe: str, unit: str = "") -> str:
    """A recipe's value, and in brackets those of the full models."""
    names = {one: name for one, name in NAMES.items() if one in values and one != recipe}
    others = [f"{name} {values[one]:.1f}{unit}" for one, name in names.items()]
    return f"{values[recipe]:.1f}{unit}" + (f" ({', '.join(others)})" if others else "")
