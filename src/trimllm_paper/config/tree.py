"""The models as a tree of keys, which complaints and config/README.md walk."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from trimllm_paper.config.parts import Section

Node = dict[str, Any]


class _Untitled(GenerateJsonSchema):
    """Without titles, which only say a key's name once more."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def schema(kind: type[Section]) -> Node:
    """JSON schema of a model."""
    return kind.model_json_schema(schema_generator=_Untitled)


def tree(kind: type[Section]) -> Node:
    """The schema with references followed.

    A node has what its schema has, but `each` for the values of a mapping or the items of a list,
    `kinds` (class name -> node) for one of several kinds of mapping, and `types` for all types that
    it may have, null included. What a class says of itself is left out.
    """
    whole = schema(kind)
    return _followed(whole, whole.get("$defs", {}))


def _followed(node: Node, kinds: Node) -> Node:
    if "$ref" in node:
        told = _followed(kinds[node["$ref"].rpartition("/")[2]], kinds)
        node = {**{key: one for key, one in told.items() if key != "description"}, **node}
    if "oneOf" in node:
        names = [one["$ref"].rpartition("/")[2] for one in node["oneOf"]]
        return {
            **node,
            "types": ["object"],
            "kinds": {n: _followed(kinds[n], kinds) for n in names},
        }
    if "anyOf" in node:
        every = [_followed(one, kinds) for one in node["anyOf"]]
        types = [type_ for one in every for type_ in one["types"]]
        left = [one for one in every if one["types"] != ["null"]]
        return {**(left[0] if len(left) == 1 else {}), **node, "types": types}
    others = [*node.get("patternProperties", {}).values(), node.get("additionalProperties")]
    each = node.get("items", others[0])
    found = {**node, "types": [node["type"]]}
    if "properties" in node:
        found["properties"] = {k: _followed(v, kinds) for k, v in node["properties"].items()}
    return {**found, "each": _followed(each, kinds)} if isinstance(each, dict) else found
