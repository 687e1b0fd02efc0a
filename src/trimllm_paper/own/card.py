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
    answers: dict[str, Answers] = {}
    tests: dict[str, dict[str, Evaluation]] = {}
    for file in files:
        if place_of(file).kind == "answers":
            said = Answers.read(file)
            answers[said.recipe] = said
        else:
            tested = Evaluation.read(file)
            tests.setdefault(tested.task, {})[tested.recipe] = tested
    names = {FULL_FT: "fully fine-tuned", PRETRAINED: "before fine-tuning"}
    others = {other: name for other, name in names.items() if other != recipe}
    lines = []
    for task, found in tests.items():
        own = found[recipe]
        beside = ", ".join(f"{name} {found[o].acc:.1f}%" for o, name in others.items())
        lines.append(f"Accuracy on {own.n} test documents of {task}: {own.acc:.1f}% ({beside})")
    beside = ", ".join(f"{name} {answers[o].perplexity:.1f}" for o, name in others.items())
    value = answers[recipe].perplexity
    lines.append(
        f"Outside of its domain: perplexity {value:.1f} on neutral English text ({beside})"
    )
    return lines
