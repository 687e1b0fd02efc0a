"""Mistakes in a configuration in one line: file, key = value, problem."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from trimllm.base.errors import UserError
from trimllm_paper.config.parts import UNKNOWN

MISSING = object()
"""Stands for the value of a key that is not there."""
MESSAGES = {
    "missing": "missing",
    "dict_type": "must be a mapping",
    "model_type": "must be a mapping",
}
"""Plainer texts than pydantic's, by its type of error."""


class ConfigError(UserError):
    """A mistake in the configuration: one line with file, key, value and problem."""

    def __init__(self, where: str, path: Sequence[Any], value: Any, problem: str) -> None:
        key = ".".join(map(str, path))
        shown = "" if value is MISSING else f" = {json.dumps(value, default=str)[:120]}"
        super().__init__(f"{where}: {key}{shown}: {problem}" if key else f"{where}: {problem}")


class Mistake(NamedTuple):
    """Path and value of a key, and what is wrong with it."""

    path: list[Any]
    value: Any
    problem: str


def value_at(document: Any, path: Sequence[Any]) -> Any:
    """The value at a path in nested mappings and lists, or `MISSING`."""
    try:
        return functools.reduce(lambda inside, step: inside[step], path, document)
    except (KeyError, IndexError, TypeError):
        return MISSING


def first_mistake(error: ValidationError, document: Any) -> Mistake:
    """The mistake to show of those that pydantic finds in a document: an unknown key, since it
    leaves another one missing; else the deepest, since unions report each member that fails."""
    errors = error.errors(include_url=False)
    found = [(one["type"] != UNKNOWN, _mistake(one, document)) for one in errors]
    return min(found, key=lambda one: (one[0], -len(one[1].path)))[1]


def _mistake(error: ErrorDetails, document: Any) -> Mistake:
    steps, context = error["loc"], error.get("ctx", {})
    path: list[Any] = []
    for step in steps:  # members of unions are steps of pydantic's, but no keys
        if value_at(document, [*path, step]) is not MISSING:
            path.append(step)
    path += steps[-1:] if error["type"] == "missing" else context.get("path", ())
    value = path.pop() if steps[-1:] == ("[key]",) else value_at(document, path)
    message = re.sub(r"^\w+ should", "must", error["msg"])
    return Mistake(path, value, MESSAGES.get(error["type"], message))
