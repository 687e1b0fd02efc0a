"""Shapes with random weights in the pipeline: recipes, kernels."""

import importlib.util
from collections.abc import Iterable, Mapping
from typing import Any

from trimllm.base import machine
from trimllm.base.errors import UserError
from trimllm.throughput.subject import KERNELS, SHAPES, Subject, kept_units
from trimllm_paper.recipe import HALF, RANDOM, Recipe


def subject_of(shape: str, recipe: Recipe, **options: Any) -> Subject:
    """The subject of a shape's recipe, with further attributes of `Subject`. Raises `UserError` for
    a recipe of another kind."""
    units = None
    if recipe.keep and recipe.name == HALF:
        units = tuple(kept_units(SHAPES[shape]["num_hidden_layers"], float(recipe.keep)))
    if not (units or recipe.base == "full") or recipe.compressor not in (None, *KERNELS):
        known = f"full, trim_{HALF}/keep_PERCENT; compressors: {', '.join(KERNELS)}"
        raise UserError(f"{recipe}: no recipe of a shape ({known})")
    return Subject(shape=shape, units=units, compressor=recipe.compressor, **options)


def refuse_untimed(jobs: Iterable[tuple[str, Mapping[str, str]]]) -> None:
    """Raise `UserError` if a job (rule and wildcards) that is about to run times a shape with a
    compressor that is not installed."""
    for rule, wildcards in jobs:
        if rule == "measure" and (name := wildcards["model"]).startswith(RANDOM):
            recipe = Recipe.parse(wildcards["recipe"])
            compressor = subject_of(name.removeprefix(RANDOM), recipe).compressor
            if importlib.util.find_spec(package := KERNELS.get(compressor or "", "torch")) is None:
                missing = f"{compressor} runs on kernels of {package}, which is not installed"
                raise UserError(f"{missing}; install it or leave {compressor} out")


def check_machine(hardware: str, device: str) -> None:
    """Raise `UserError` where a measurement of `hardware` was requested on another machine."""
    here = machine.this_machine(device)
    if here != hardware:
        remedy = "measure there and copy the file here"
        raise UserError(f"this machine is {here}, not {hardware}: {remedy}")
