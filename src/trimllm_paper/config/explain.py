"""What pydantic refuses, in words of the configuration: key, value, problem and meaning.

Complaints and config/README.md walk the models as a `tree` of keys, made of their JSON schema.
"""

from __future__ import annotations

import difflib
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import ErrorDetails

from trimllm_paper.config.parts import Section, number

Node = dict[str, Any]
MISSING = object()
"""Stands for the value of a key that is not there."""
RENAMED = {
    "trim.criteria": "trim.recipes (entries of `recipes`, which say criterion, ratio and step)",
    "trim.ratio": "recipes.NAME.ratio",
    "trim.drops_per_epoch": "recipes.NAME.step",
    "benchmark": "throughput",
}
"""Keys of before, and what they are called now."""
RETIRED = (
    *("trim.eliminate", "compat", "recipes.*.fold", "tables.layouts"),
    *("sets.*.from.*.version", "sets.*.from.*.sha256"),
)
"""Keys (patterns) whose feature was retired."""
PROBLEMS = {
    "missing": "missing",
    "greater_than": "must be above {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than_equal": "must be at most {le:g}",
    "too_short": "must have {min_length} or more",
    "string_too_short": "must not be empty",
    "string_pattern_mismatch": "not of the form {pattern}",
    "union_tag_not_found": "must be one kind",
}
WANTED = {"string": "a text", "integer": "an integer", "number": "a number", "null": "null"}
WANTED |= {"boolean": "true or false", "array": "a list", "object": "a mapping"}
TYPES = {bool: "true/false", int: "integer", float: "number", str: "text", list: "list"}


@cache
def meanings() -> dict[str, dict[str, str | list[str]]]:
    """keys.yaml: class -> key -> what it means, or that and why."""
    return yaml.safe_load(Path(__file__).with_name("keys.yaml").read_text(encoding="utf-8"))


class _Explained(GenerateJsonSchema):
    """Keys with their meaning, and in a second line why; no titles, which only say the name."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def model_schema(self, schema: Any) -> Node:
        made: Node = super().model_schema(schema)
        told: dict[str, str | list[str]] = {}
        for kind in reversed(schema["cls"].__mro__):
            told |= meanings().get(kind.__name__, {})
        for key, node in made["properties"].items():
            if key in told:
                texts = told[key]
                node["description"] = texts if isinstance(texts, str) else "\n".join(texts)
        return made


def schema(kind: type[Section]) -> Node:
    """JSON schema of a model."""
    return kind.model_json_schema(schema_generator=_Explained)


def tree(kind: type[Section]) -> Node:
    """The schema with references followed.

    A node has what its schema has, but `each` for the values of a mapping or the items of a list,
    `kinds` (class name -> node) for one of several kinds of mapping, and `types` for all types that
    it may have, null included. What a class says of itself is left out.
    """
    whole = schema(kind)
    return _followed(whole, whole.get("$defs", {}))


def _followed(node: Node, classes: Node) -> Node:
    if "$ref" in node:
        node = classes[node["$ref"].rpartition("/")[2]] | node
    if "oneOf" in node:
        kinds = {one["$ref"].rpartition("/")[2]: _followed(one, classes) for one in node["oneOf"]}
        return node | {"types": ["object"], "kinds": kinds}
    if "anyOf" in node:
        every = [_followed(one, classes) for one in node["anyOf"]]
        types = [type_ for one in every for type_ in one["types"]]
        left = [one for one in every if one["types"] != ["null"]]
        return (left[0] if len(left) == 1 else {}) | node | {"types": types}
    found = node | {"types": [node["type"]]}
    inside = [*node.get("patternProperties", {}).values(), node.get("additionalProperties")]
    if each := node.get("items") or inside[0]:
        found["each"] = _followed(each, classes)
    if "properties" in node:
        found["properties"] = {k: _followed(v, classes) for k, v in node["properties"].items()}
    return found


class Mistake(NamedTuple):
    """One mistake: where, what, why it is one, and whether another type may mend it.

    `order` says what is told first: a misspelt key also makes a required one missing.
    """

    order: tuple[bool, int, bool, int]
    path: list[Any]
    value: Any
    problem: str
    of_type: bool


def explain(error: ErrorDetails, node: Node) -> Mistake:
    """The mistake that an entry of `ValidationError.errors()` tells of.

    Args:
        node: the model of what was validated, as a `tree`.
    """
    rule, place, path, meaning, inside = error["type"], list(error["loc"]), [], "", []
    wrong_name, unknown = place[-1] == "[key]", rule == "extra_forbidden"
    for index, step in enumerate(place[: -2 if wrong_name else -1 if unknown else None]):
        if step in node.get("kinds", ()):  # no key, but which kind of mapping it is
            node = node["kinds"][step]
            continue
        below = node.get("properties", {}).get(step) or node.get("each")
        if below is None:  # one of several types, and what is wrong inside of it
            inside = place[index + 1 :]
            break
        path.append(step)
        node, meaning = below, below.get("description", meaning).partition("\n")[0]
    of_type = rule.endswith("_type") or rule == "literal_error"
    order = not unknown, len(path), of_type, -len(place)
    path += place[-1:] if unknown else inside
    value = MISSING if rule == "missing" else error["input"]
    if wrong_name:
        problem = f"not a good name; allowed: {node['propertyNames']['description']}"
    elif unknown:
        problem = _unknown(path, node)
    else:
        problem = error["msg"] if inside else _problem(error, value, node)
        problem += f"; it is {meaning}" if meaning else ""
    return Mistake(order, path, value, problem, of_type)


def _problem(error: ErrorDetails, value: Any, node: Node) -> str:
    rule, told = error["type"], error.get("ctx", {})
    if rule.endswith("_type") or rule == "union_tag_not_found" and not isinstance(value, dict):
        return _wrong_type(value, node["types"])
    if rule == "literal_error":
        return f"must be one of {told['expected']}".replace("'", "")
    rule = "string_too_short" if told.get("min_length") == 1 else rule
    return PROBLEMS[rule].format(**told) if rule in PROBLEMS else error["msg"]


def _unknown(path: list[Any], node: Node) -> str:
    if now := RENAMED.get(".".join(map(str, path))):
        return f"is called {now} now"
    if any(fnmatchcase(".".join(map(str, path)), key) for key in RETIRED):
        return "was retired; remove it"
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
