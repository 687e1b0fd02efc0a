"""Mistakes in a configuration in one line: file, key = value, problem."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from trimllm.base.errors import UserError
from trimllm_paper.config.parts import UNKNOWN, number

MISSING = object()
"""Stands for the value of a key that is not there."""
RETIRED = {
    "benchmark": "throughput",
    "compat": None,
    "compress.engines.llm_int8": None,
    "compress.engines.llm_pruner": None,
    "compress.engines.sparsegpt_2_4": None,
    "recipes.*.fold": None,
    "sets.*.from.*.sha256": None,
    "sets.*.from.*.version": None,
    "tables.layouts": None,
    "throughput.prefills": "throughput.repeats",
    "engines.drafts": None,
    "trim.criteria": "trim.recipes (entries of `recipes` with criterion, ratio and step)",
    "trim.drops_per_epoch": "recipes.NAME.step",
    "trim.eliminate": None,
    "trim.ratio": "recipes.NAME.ratio",
}
"""Keys (patterns) of earlier versions, with their successor; None: the feature was retired."""
MESSAGES = {
    "missing": "missing",
    "string_type": "must be a text",
    "bool_type": "must be true or false",
    "list_type": "must be a list",
    "dict_type": "must be a mapping",
    "model_type": "must be a mapping",
    "literal_error": "must be one of {expected}",
    "too_short": "must have {min_length} or more entries",
    "string_too_short": "must not be empty",
    "greater_than": "must be above {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than_equal": "must be at most {le:g}",
}
"""Plainer texts than pydantic's, by its type of error."""


class ConfigError(UserError):
    """A mistake in the configuration: one line with file, key, value and problem."""

    def __init__(self, where: str, path: Sequence[Any], value: Any, problem: str) -> None:
        key = ".".join(map(str, path))
        shown = "" if value is MISSING else f" = {json.dumps(value, default=str)[:120]}"
        super().__init__(f"{where}: {key}{shown}: {problem}" if key else f"{where}: {problem}")


class Mistake(NamedTuple):
    """A key's path and value, the problem, and whether a value of another type may solve it."""

    path: list[Any]
    value: Any
    problem: str
    of_type: bool


def value_at(document: Any, path: Sequence[Any]) -> Any:
    """The value at a path in nested mappings and lists, or `MISSING`."""
    try:
        return functools.reduce(lambda inside, step: inside[step], path, document)
    except (KeyError, IndexError, TypeError):
        return MISSING


def mistakes(error: ValidationError, document: Any) -> list[Mistake]:
    """What pydantic refuses in a document: unknown keys first, since these leave others missing,
    values of a wrong type last. One entry a key: the problems of a union's members are joined."""
    every: dict[str, Mistake] = {}
    for one in sorted(error.errors(include_url=False), key=_order):
        mistake = _mistake(one, document)
        first = every.setdefault(str(mistake.path), mistake)
        if first.of_type and mistake.of_type and mistake.problem not in first.problem:
            problem = f"{first.problem} or {mistake.problem.removeprefix('must be ')}"
            every[str(mistake.path)] = first._replace(problem=problem)
    return [*every.values()]


def _of_type(error: ErrorDetails) -> bool:
    return error["type"].endswith("_type") or error["type"] == "literal_error"


def _order(error: ErrorDetails) -> tuple[bool, bool, int]:
    return error["type"] != UNKNOWN, _of_type(error), -len(error["loc"])


def _mistake(error: ErrorDetails, document: Any) -> Mistake:
    rule, place, ctx = error["type"], error["loc"], error.get("ctx", {})
    path: list[Any] = []
    for step in place:  # members of unions are steps of pydantic's, but no keys
        if value_at(document, [*path, step]) is not MISSING:
            path.append(step)
    path += place[-1:] if rule == "missing" else ctx.get("at", ())
    value = path.pop() if place[-1:] == ("[key]",) else value_at(document, path)
    problem = re.sub(r"^\w+ should", "must", error["msg"])
    if rule in MESSAGES:
        problem = MESSAGES[rule].format(**ctx)
    elif rule == UNKNOWN:
        problem = _retired(".".join(map(str, path))) or problem
    elif rule == "wrong":
        value = ctx["value"]
    elif rule in ("int_type", "float_type") and number(value) is not None:
        problem += f" (YAML reads {value} as a text; write a dot: 1.0e-4)"
    return Mistake(path, value, problem, _of_type(error))


def _retired(key: str) -> str | None:
    for pattern, successor in RETIRED.items():
        if fnmatchcase(key, pattern):
            return f"was replaced by {successor}" if successor else "was retired; remove it"
    return None
