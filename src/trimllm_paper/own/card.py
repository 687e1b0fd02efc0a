"""What the model card of a chosen checkpoint tells of it: accuracy, and other text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from trimllm_paper.choices import Answers
from trimllm_paper.recipe import FULL_FT, PRETRAINED, place_of
from trimllm_paper.records import Evaluation


def measured(files: Sequence[str | Path], recipe: str) -> list[str]:
    """Lines of the card.

    Args:
        files: records of answers and evaluations, of the pretrained, the fully fine-tuned and the
            chosen model.
        recipe: the chosen one.
    """
    answers, tests = {}, {}
    for file in files:
        if place_of(file).kind == "answers":
            answers[Answers.read(file).recipe] = Answers.read(file)
        else:
            one = Evaluation.read(file)
            tests.setdefault(one.task, {})[one.recipe] = one
    names = {FULL_FT: "fully fine-tuned", PRETRAINED: "before fine-tuning"}
    others = {other: name for other, name in names.items() if other != recipe}
    lines = []
    for task, found in tests.items():
        own, beside = found[recipe], (f"{name} {found[o].acc:.1f}%" for o, name in others.items())
        lines.append(
            f"Accuracy on {own.n} test documents of {task}: {own.acc:.1f}% ({', '.join(beside)})"
        )
    own, beside = answers[recipe], (f"{n} {answers[o].perplexity:.1f}" for o, n in others.items())
    lines.append(
        f"Outside of its domain: perplexity {own.perplexity:.1f} on neutral English text "
        f"({', '.join(beside)})"
    )
    return lines
