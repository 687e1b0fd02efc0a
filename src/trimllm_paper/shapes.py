"""Shapes with random weights in the pipeline: recipes, patterns, kernels."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Mapping
from typing import Any

from trimllm.base import machine
from trimllm.base.errors import UserError
from trimllm.throughput.subject import KERNELS, SHAPES, Subject, kept_units
from trimllm_paper.recipe import Recipe

RANDOM = "random-"
"""Start of a shape's name in paths, such as `random-llama-1b`."""


def in_words(name: str, pattern: float) -> str:
    """A pattern of the configuration in words."""
    return f"{name}: {100 * pattern:.0f}% of the dropped sublayers are attention, spread evenly"


def subject_of(
    shape: str, recipe: Recipe, patterns: Mapping[str, float], **options: Any
) -> Subject:
    """The subject of a shape's recipe, with further attributes of `Subject`. Raises `UserError` for
    a recipe of another kind and for a pattern that cannot drop so many."""
    pattern, units = patterns.get(recipe.name or ""), None
    if recipe.is_trimmed and recipe.keep and pattern is not None:
        units = tuple(kept_units(SHAPES[shape]["num_hidden_layers"], float(recipe.keep), pattern))
    if not (units or recipe.base == "full") or recipe.compressor not in (None, *KERNELS):
        raise UserError(
            f"{recipe}: no recipe of a shape (patterns: {', '.join(patterns)}; compressors: "
            f"{', '.join(KERNELS)})"
        )
    return Subject(shape=shape, units=units, compressor=recipe.compressor, **options)


def refuse_untimed(jobs: Iterable[tuple[str, Mapping[str, str]]], section: Any) -> None:
    """Raise `UserError` if a job (rule and wildcards) that is about to run times a shape with a
    compressor that is not installed; `section`: `throughput` of the configuration."""
    for rule, wildcards in jobs:
        if rule != "measure" or not wildcards["model"].startswith(RANDOM):
            continue
        shape, recipe = wildcards["model"].removeprefix(RANDOM), Recipe.parse(wildcards["recipe"])
        compressor = subject_of(shape, recipe, section.patterns).compressor
        package = KERNELS.get(compressor or "", "torch")
        if importlib.util.find_spec(package) is None:
            raise UserError(
                f"{compressor} runs on kernels of {package}, which is not installed; install it or "
                f"leave {compressor} out"
            )


def check_machine(hardware: str, device: str) -> None:
    """Raise `UserError` where a measurement of `hardware` was requested on another machine."""
    here = machine.this_machine(device)
    if here != hardware:
        raise UserError(
            f"this machine is {here}, not {hardware}: measure there and copy the file here"
        )
