"""What no schema of a domain's YAML can say: names that are there, templates that fit."""

from __future__ import annotations

import string
from collections.abc import Iterator, Mapping
from typing import Any

from trimllm.base.errors import UserError

PLACEHOLDERS = {"prompt": {"question", "context", "answer"}, "choice": {"choice"}}
Problem = tuple[list[Any], Any, str]


def check(spec: Mapping[str, Any], where: str) -> None:
    """Raise `UserError` for the first problem: where it stands, key, value, what is wrong."""
    for path, value, problem in problems(spec):
        key = ".".join(map(str, path))
        shown = "" if value is None else f" = {value!r}"
        raise UserError(f"{where}: {key}{shown}: {problem}")


def problems(spec: Mapping[str, Any]) -> Iterator[Problem]:
    """(path of the key, its value or None, what is wrong) of every problem.

    Args:
        spec: a domain as its YAML declares it, with the keys and types that it must have.
    """
    named = [([key], spec[key]) for key in ("train", "calibration") if spec.get(key)]
    tests = spec["tests"].items()
    named += [(["tests", name, "set"], test["set"]) for name, test in tests if "set" in test]
    for path, name in named:
        if name not in spec["sets"]:
            known = ", ".join(sorted(spec["sets"]))
            yield path, name, f"no set of this domain (there are: {known})"
    for name, how in spec["sets"].items():
        path = ["sets", name]
        for template in PLACEHOLDERS.keys() & how.keys():
            yield from _template_problems(how[template], [*path, template], PLACEHOLDERS[template])
        for source in how["from"]:
            told = {**how, **source}
            if "task" not in told and told.get("format") != "chat" and not told.get("fields"):
                yield [*path, "fields"], None, "missing (or format: chat)"
        if how.get("construct", {}).get("kind") == "label":
            yield from _label_problems(how, [*path])


def _label_problems(how: Mapping[str, Any], path: list[Any]) -> Iterator[Problem]:
    labels = how["construct"].get("labels") or {}
    if len(labels) < 2:
        yield [*path, "construct", "labels"], dict(labels), "the construction needs two or more"
    classes = sorted(map(str, labels.values()))
    for number, source in enumerate(how["from"]):
        if "label" in source and str(source["label"]) not in classes:
            at = [*path, "from", number, "label"]
            yield at, source["label"], f"no value of construct.labels ({', '.join(classes)})"


def _template_problems(text: str, path: list[Any], allowed: set[str]) -> Iterator[Problem]:
    try:
        used = {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}
    except ValueError as error:
        yield path, text, str(error)
        return
    if used - allowed:
        known = ", ".join(f"{{{name}}}" for name in sorted(allowed))
        yield path, text, f"there is no {{{min(used - allowed)}}} (there are: {known})"
