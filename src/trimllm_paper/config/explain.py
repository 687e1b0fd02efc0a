"""What pydantic refuses, in words of the configuration: key, value, problem and meaning."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Any

from trimllm_paper.config.parts import number

MISSING = object()
"""Stands for the value of a key that is not there."""
RENAMED = {
    "trim.criteria": "trim.recipes (names of entries of `recipes`, which say criterion, ratio, step)",
    "trim.ratio": "recipes.NAME.ratio",
    "trim.drops_per_epoch": "recipes.NAME.step",
    "benchmark": "throughput",
}
"""Keys of before, and what they are called now."""
PROBLEMS = {
    "greater_than": "must be above {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "too_short": "must not be empty",
    "string_too_short": "must not be empty",
    "string_pattern_mismatch": "not of the form {pattern}",
}
WORDS = {
    "string": "a text",
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "a mapping",
    "null": "null",
}
TYPES = {bool: "true/false", int: "integer", float: "number", str: "text", list: "list"}


def at(node: Any, path: Any) -> Any:
    """What stands at a path in nested mappings and lists, or `MISSING`."""
    for step in path:
        inside = dict(enumerate(node)) if isinstance(node, list) else node
        if not isinstance(inside, dict) or step not in inside:
            return MISSING
        node = inside[step]
    return node


@dataclass
class Mistake:
    """One mistake: where, what, and why it is one."""

    path: list[Any]
    value: Any
    problem: str
    unknown: bool = False
    wrong_type: bool = False
    convertible: bool = False


class Explainer:
    """Explains mistakes in a document by the JSON schema of its model."""

    def __init__(self, schema: dict[str, Any], document: Any) -> None:
        self.kinds, self.schema, self.document = schema.get("$defs", {}), schema, document

    def explain(self, error: dict[str, Any]) -> Mistake:
        """The mistake that an entry of `ValidationError.errors()` tells of."""
        rule, place = error["type"], list(error["loc"])
        context = error.get("ctx", {})
        if place and place[-1] == "[key]":
            path, node, _ = self._walk(place[:-2])
            allowed = node.get("propertyNames", {}).get("description", "")
            return Mistake(path, place[-2], f"not a good name; allowed: {allowed}")
        if rule in ("extra_forbidden", "missing"):
            path, node, _ = self._walk(place[:-1])
            path.append(place[-1])
            if rule == "extra_forbidden":
                return Mistake(path, at(self.document, path), self._unknown(path, node), True)
            _, _, meaning = self._walk(place)
            return Mistake(path, MISSING, f"missing; it is {meaning or 'required'}")
        path, node, meaning = self._walk(place)
        value = at(self.document, path)
        wrong = rule.endswith("_type")
        if rule.startswith("union_tag"):
            problem = "must be one kind" if isinstance(value, dict) else self._type(value, node)
        elif rule == "literal_error":
            problem = f"must be one of {', '.join(map(str, _choices(node)))}"
        elif wrong:
            problem = self._type(value, node)
        else:
            problem = PROBLEMS.get(rule, error["msg"]).format(**context)
        told = f"{problem}; it is {meaning}" if meaning else problem
        return Mistake(path, value, told, False, wrong, wrong or rule == "literal_error")

    def _unknown(self, path: list[Any], node: dict[str, Any]) -> str:
        if now := RENAMED.get(".".join(map(str, path))):
            return f"is called {now} now"
        known = sorted(node.get("properties", {}))
        close = difflib.get_close_matches(str(path[-1]), known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"
        return f"unknown key; {hint}"

    def _walk(self, place: list[Any]) -> tuple[list[Any], dict[str, Any], str]:
        """Path of keys (pydantic names kinds of mappings in between), schema and meaning there."""
        path, node, meaning = [], self.schema, ""
        for step in place:
            inside = self._inside(node, step)
            if inside is None:
                continue
            node = self._resolved(inside)
            meaning = inside.get("description", meaning)
            if step not in self.kinds:
                path.append(step)
        return path, node, meaning

    def _inside(self, node: dict[str, Any], step: Any) -> dict[str, Any] | None:
        if "oneOf" in node:
            return self.kinds.get(step)
        if isinstance(step, int):
            return node.get("items")
        others = [*node.get("patternProperties", {}).values(), node.get("additionalProperties")]
        inside = node.get("properties", {}).get(step, others[0])
        return inside if isinstance(inside, dict) else None

    def _resolved(self, node: dict[str, Any]) -> dict[str, Any]:
        """The same without a reference, and without a null that may stand instead."""
        if "$ref" in node:
            return self.kinds[node["$ref"].rpartition("/")[2]]
        if "anyOf" in node:
            left = [one for one in node["anyOf"] if one.get("type") != "null"]
            if len(left) == 1:
                return {**self._resolved(left[0]), "nullable": len(left) < len(node["anyOf"])}
        return node

    def _type(self, value: Any, node: dict[str, Any]) -> str:
        every = [self._resolved(one) for one in node.get("anyOf", node.get("oneOf", [node]))]
        types = [one["type"] for one in every if "type" in one] + ["null"] * node.get("nullable", 0)
        wanted = " or ".join(WORDS[one] for one in dict.fromkeys(types))
        as_text = number(value) is not None and "string" not in types
        hint = f" (YAML takes {value} for a text; write a dot: 1.0e-4)" if as_text else ""
        shown = "nothing" if value is None else TYPES.get(type(value), "mapping")
        return f"wrong type {shown}, must be {wanted}{hint}"


def _choices(node: dict[str, Any]) -> list[Any]:
    values = node.get("enum", [node["const"]] if "const" in node else [])
    return [*values, *(["null"] if node.get("nullable") else [])]
