"""Shapes with random weights in the pipeline: recipes, patterns from kept chains, kernels."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from trimllm.base import machine
from trimllm.base.errors import UserError
from trimllm.throughput.subject import KERNELS, SHAPES, Chain, Subject, kept_units
from trimllm_paper import kept_runs
from trimllm_paper.recipe import Recipe
from trimllm_paper.records import Epoch

RANDOM = "random-"
"""Start of a shape's name in paths, such as `random-llama-1b`."""


def pattern_units(folder: str | Path) -> Chain:
    """What a chain dropped, in order, from its folder `.../trim_NAME` with `state_KK/epoch.json`.
    Raises `UserError` where there is no such chain."""
    epochs = [Epoch.read(path) for path in kept_runs.glob(folder, "state_*/epoch.json")]
    epochs.sort(key=lambda epoch: epoch.parsed.dropped)
    order = [unit for epoch in epochs for unit in epoch.units_dropped]
    if not order:
        raise UserError(f"{folder} holds no chain: state_*/epoch.json of one that drops sublayers")
    return Chain(epochs[0].units_total // 2, tuple(order))


def in_words(name: str, pattern: float | str) -> str:
    """A pattern of the configuration in words."""
    if isinstance(pattern, int | float):
        return f"{name}: {100 * pattern:.0f}% of the dropped sublayers are attention, spread evenly"
    return f"{name}: the order of the chain {Path(pattern).parent.name}/{Path(pattern).name}"


def subject_of(
    shape: str, recipe: Recipe, patterns: Mapping[str, float | str], **options: Any
) -> Subject:
    """The subject of a shape's recipe, with further attributes of `Subject`. Raises `UserError` for
    a recipe of another kind and for a pattern that cannot drop so many."""
    pattern, units = patterns.get(recipe.name or ""), None
    if recipe.is_trimmed and recipe.keep and pattern is not None:
        dropped = pattern_units(pattern) if isinstance(pattern, str) else pattern
        units = tuple(kept_units(SHAPES[shape]["num_hidden_layers"], float(recipe.keep), dropped))
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
