"""One cell of the tables: what its name says is measured, and the JSON that comes of it.

A recipe is named as in the whole project. Of a shape it is `full` or `trim_PATTERN/keep_PERCENT`,
with `+COMPRESSOR` after either.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from trimllm.base.errors import UserError
from trimllm.throughput import machine
from trimllm.throughput.patterns import kept_units
from trimllm.throughput.session import Protocol, measure
from trimllm.throughput.shapes import LABELS, shape
from trimllm.throughput.subject import Subject

RANDOM = "random-"
"""Start of a shape's name in paths: `random-llama-1b` has no weights worth the name."""
SHAPE_RECIPE = re.compile(
    r"(?:full|trim_(?P<pattern>[a-z0-9]+)/keep_(?P<kept>[0-9.]+))(?:\+(?P<compressor>[a-z0-9_]+))?"
)


def shape_subject(
    name: str, recipe: str, patterns: Mapping[str, float | str], **how: Any
) -> tuple[Subject, str | None]:
    """The subject of a shape's recipe, and the pattern it was trimmed by in words.

    `how` is passed on to `Subject`. Raises `UserError` for a recipe or a pattern that is none.
    """
    match = SHAPE_RECIPE.fullmatch(recipe)
    if not match or (match["pattern"] and match["pattern"] not in patterns):
        raise UserError(f"{recipe}: no recipe of a shape (patterns: {', '.join(patterns)})")
    whole = Subject(shape=name, compressor=match["compressor"], **how)
    if match["pattern"] is None:
        return whole, None
    pattern = patterns[match["pattern"]]
    left = kept_units(shape(name)["num_hidden_layers"], float(match["kept"]), pattern)
    return replace(whole, units=tuple(left)), describe(match["pattern"], pattern)


def describe(name: str, pattern: float | str) -> str:
    """A pattern in words."""
    if isinstance(pattern, int | float):
        return f"{name}: {100 * pattern:.0f}% of the dropped units are attention, spread evenly"
    return f"{name}: the order of the chain {Path(pattern).parent.name}/{Path(pattern).stem}"


def measure_cell(
    subject: Subject,
    baseline: Subject | None,
    protocol: Protocol,
    hardware: str,
    *,
    also_compiled: bool = False,
    say: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Measure one cell on the machine that `hardware` names.

    With `also_compiled` the same pair is timed by `torch.compile` too, under `compiled`; where that
    fails, its error stands there.

    Raises `UserError` where this is another machine, or where `measure` does.
    """
    here = machine.this_machine(subject.device)
    if here != hardware:
        raise UserError(
            f"this machine is {here}, not {hardware}: measure there and copy the file here"
        )
    found = measure(subject, baseline, protocol, say=say)
    if also_compiled:
        pair = [one and replace(one, mode="compiled") for one in (subject, baseline)]
        try:
            found["compiled"] = measure(pair[0], pair[1], protocol, say=say)
        except (RuntimeError, UserError) as error:
            found["compiled"] = {"error": str(error)}
    found["compressor"] = subject.compressor
    found["random_weights"] = subject.shape is not None
    if subject.shape is not None:
        found["label"] = LABELS[subject.shape]
    return found
