"""What a domain's YAML must be beyond its JSON schema: names that are there, templates that fit."""

from __future__ import annotations

import string
from collections.abc import Iterator, Mapping
from typing import Any

from trimllm.base.errors import UserError

PLACEHOLDERS = {"prompt": {"question", "context", "answer"}, "choice": {"choice"}}
SOURCES = ("wheel", "file", "hub", "task")
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
        spec: a domain as its YAML declares it, valid by the schema or not.
    """
    for key in ("sets", "tests"):
        if not spec.get(key):
            yield [key], None, "missing"
            return
    named = [([key], spec[key]) for key in ("train", "calibration") if spec.get(key)]
    for name, test in spec["tests"].items():
        if "set" in test:
            named.append((["tests", name, "set"], test["set"]))
        elif "task" not in test:
            yield ["tests", name], None, "needs a set or a task"
    for path, name in named:
        if name not in spec["sets"]:
            yield (
                path,
                name,
                f"no set of this domain (there are: {', '.join(sorted(spec['sets']))})",
            )
    for name, how in spec["sets"].items():
        yield from _set_problems(how, ["sets", name])


def _set_problems(how: Mapping[str, Any], path: list[Any]) -> Iterator[Problem]:
    for template, allowed in PLACEHOLDERS.items():
        if template in how:
            yield from _template_problems(how[template], [*path, template], allowed)
    if not how.get("from"):
        yield [*path, "from"], None, "missing"
        return
    for number, source in enumerate(how["from"]):
        if sum(kind in source for kind in SOURCES) != 1:
            yield [*path, "from", number], dict(source), f"needs one of {', '.join(SOURCES)}"
        told = {**how, **source}
        readable = told.get("format") == "chat" or told.get("fields", {}).get("question")
        if "task" not in source and not readable:
            yield [*path, "fields"], None, "missing (or format: chat)"
    rules = how.get("construct", {})
    if rules.get("kind") == "label":
        yield from _label_problems(how, rules.get("labels") or {}, path)


def _label_problems(
    how: Mapping[str, Any], labels: Mapping[str, str], path: list[Any]
) -> Iterator[Problem]:
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
