"""Shapes with random weights in the pipeline: names, patterns from kept chains, whose machine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from trimllm.base.errors import UserError
from trimllm.throughput import machine
from trimllm.throughput.shapes import Chain
from trimllm.throughput.subject import Subject, shape_subject
from trimllm_paper.recipe import Recipe, epoch_records
from trimllm_paper.records import Epoch

RANDOM = "random-"
"""Start of a shape's name in paths: `random-llama-1b` has no weights worth the name."""


def pattern_units(folder: str | Path) -> Chain:
    """What a chain dropped, in order, from the records of its epochs.

    Args:
        folder: `.../models/MODEL/DOMAIN/trim_NAME`, which holds `state_KK/epoch.json`.

    Raises `UserError` where there is no such chain.
    """
    epochs = [Epoch.read(path) for path in epoch_records(folder)]
    epochs.sort(key=lambda epoch: epoch.parsed.dropped)
    order = [unit for epoch in epochs for unit in epoch.units_dropped]
    if not order or len(set(order)) != len(order):
        raise UserError(f"{folder} holds no chain: state_*/epoch.json of one that drops units once")
    return Chain(epochs[0].units_total // 2, tuple(order))


def in_words(name: str, pattern: float | str) -> str:
    """A pattern of the configuration in words."""
    if isinstance(pattern, int | float):
        return f"{name}: {100 * pattern:.0f}% of the dropped units are attention, spread evenly"
    return f"{name}: the order of the chain {Path(pattern).parent.name}/{Path(pattern).name}"


def subject_of(
    name: str, recipe: Recipe, patterns: Mapping[str, float | str], **how: Any
) -> Subject:
    """The subject of a shape's recipe; `how` is passed on to it.

    Raises `UserError` for a recipe of another kind and for a pattern that is none.
    """
    keep = recipe.keep if recipe.is_trimmed else None
    if (recipe.base, keep) != ("full", None) and (not keep or recipe.name not in patterns):
        raise UserError(f"{recipe}: no recipe of a shape (patterns: {', '.join(patterns)})")
    pattern = patterns.get(recipe.name or "")
    chain = pattern_units(pattern) if isinstance(pattern, str) else pattern
    return shape_subject(name, chain, float(keep or 100), recipe.compressor, **how)


def refuse_untimed(jobs: Iterable[tuple[str, Mapping[str, str]]], section: Any) -> None:
    """Raise `UserError` if a shape of this run lacks its kernel.

    Args:
        jobs: rule and wildcards of each job that is about to run.
        section: `throughput` of the configuration.
    """
    for rule, told in jobs:
        if rule == "measure" and told["model"].startswith(RANDOM):
            name, recipe = told["model"].removeprefix(RANDOM), Recipe.parse(told["recipe"])
            subject_of(name, recipe, section.patterns, group_size=section.group_size)


def check_machine(hardware: str, device: str) -> None:
    """Raise `UserError` where a measurement of `hardware` was asked for on another machine."""
    here = machine.this_machine(device)
    if here != hardware:
        raise UserError(
            f"this machine is {here}, not {hardware}: measure there and copy the file here"
        )
