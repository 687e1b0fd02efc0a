"""What pydantic refuses, in words of the configuration: key, value, problem and meaning."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Any

from trimllm_paper.config.parts import number
from trimllm_paper.config.tree import Node

MISSING = object()
"""Stands for the value of a key that is not there."""
RENAMED = {
    "trim.criteria": "trim.recipes (entries of `recipes`, which say criterion, ratio and step)",
    "trim.ratio": "recipes.NAME.ratio",
    "trim.drops_per_epoch": "recipes.NAME.step",
    "benchmark": "throughput",
}
"""Keys of before, and what they are called now."""
PROBLEMS = {
    "greater_than": "must be above {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than_equal": "must be at most {le:g}",
    "too_short": "must have {min_length} or more",
    "string_pattern_mismatch": "not of the form {pattern}",
    "union_tag_not_found": "must be one kind",
}
WANTED = {"string": "a text", "integer": "an integer", "number": "a number", "null": "null"}
WANTED |= {"boolean": "true or false", "array": "a list", "object": "a mapping"}
TYPES = {bool: "true/false", int: "integer", float: "number", str: "text", list: "list"}


@dataclass
class Mistake:
    """One mistake: where, what, and why it is one."""

    path: list[Any]
    value: Any
    problem: str
    rule: str
    depth: int = 0

    @property
    def order(self) -> tuple[bool, int, bool, int]:
        """What comes first: a misspelt key also makes a required one missing."""
        return self.rule != "extra_forbidden", len(self.path), self.of_type, -self.depth

    @property
    def of_type(self) -> bool:
        """Whether another type, such as a number instead of a text, may mend it."""
        return self.rule.endswith("_type") or self.rule == "literal_error"


def at(node: Any, path: Any) -> Any:
    """What stands at a path in nested mappings and lists, or `MISSING`."""
    for step in path:
        inside = dict(enumerate(node)) if isinstance(node, list) else node
        if not isinstance(inside, dict) or step not in inside:
            return MISSING
        node = inside[step]
    return node


def explain(error: dict[str, Any], node: Node, document: Any) -> Mistake:
    """The mistake that an entry of `ValidationError.errors()` tells of.

    Args:
        node: the document's model as `tree.tree` makes it.
        document: what was validated.
    """
    rule, place, path, meaning = error["type"], list(error["loc"]), [], ""
    context, inside_type = error.get("ctx", {}), []
    if place[-1:] == ["[key]"]:  # the name itself is wrong
        place, name = place[:-2], place[-2]
    last = place.pop() if rule == "extra_forbidden" else None
    for index, step in enumerate(place):
        inside = node.get("kinds", {}).get(step)
        if inside is None:  # else the step is no key, but which kind of mapping it is
            inside = node.get("properties", {}).get(step) or node.get("each")
            if inside is None:  # one of several types, and what is wrong inside of it
                inside_type = place[index + 1 :]
                break
            path.append(step)
        node, meaning = inside, inside.get("description", meaning)
    value = at(document, path)
    if error["loc"][-1:] == ("[key]",):
        allowed = node.get("propertyNames", {}).get("description")
        return Mistake(path, name, f"not a good name; allowed: {allowed}", rule)
    if last is not None:
        path.append(last)
        return Mistake(path, at(document, path), _unknown(path, node), rule)
    if rule == "missing":
        return Mistake(path, MISSING, f"missing; it is {meaning}", rule)
    if rule == "union_tag_not_found" and not isinstance(value, dict):
        rule = "dict_type"
    if inside_type:
        problem = f"{error['msg']}, at {'.'.join(map(str, inside_type))}"
    elif rule.endswith("_type"):
        problem = _wrong_type(value, node["types"])
    elif rule == "literal_error":
        choices = node.get("enum") or [node["const"]]
        problem = f"must be one of {', '.join(map(str, choices))}"
        problem += ", null" if "null" in node["types"] else ""
    elif context.get("min_length") == 1:
        problem = "must not be empty"
    else:
        problem = PROBLEMS.get(rule, error["msg"]).format(**context)
    told = f"{problem}; it is {meaning}" if meaning else problem
    return Mistake(path, value, told, rule, len(error["loc"]))


def _unknown(path: list[Any], node: Node) -> str:
    if now := RENAMED.get(".".join(map(str, path))):
        return f"is called {now} now"
    known = sorted(node["properties"])
    close = difflib.get_close_matches(str(path[-1]), known, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"
    return f"unknown key; {hint}"


def _wrong_type(value: Any, types: list[str]) -> str:
    wanted = " or ".join(WANTED[one] for one in dict.fromkeys(types))
    as_text = number(value) is not None and not {"integer", "number"}.isdisjoint(types)
    hint = f" (YAML takes {value} for a text; write a dot: 1.0e-4)" if as_text else ""
    shown = "nothing" if value is None else TYPES.get(type(value), "mapping")
    return f"wrong type {shown}, must be {wanted}{hint}"
