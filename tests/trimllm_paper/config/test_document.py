"""config/README.md is what the models say, and every key is explained."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from trimllm.sublayers import supported_families
from trimllm_paper.config import document, explain, models, parts
from trimllm_paper.config.domain import Domain

ROOT = Path(__file__).parents[3]


def keys(node: dict[str, Any], root: dict[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """Path and schema of every key."""
    if "$ref" in node:
        node = root["$defs"][node["$ref"].rpartition("/")[2]]
    held = [*node.get("patternProperties", {}).values(), node.get("additionalProperties")]
    for inside in held:
        if isinstance(inside, dict):
            yield from keys(inside, root, f"{path}NAME.")
    for kind in node.get("oneOf", []):
        yield from keys(kind, root, path)
    for name, one in node.get("properties", {}).items():
        yield f"{path}{name}", one
        yield from keys(one, root, f"{path}{name}.")


def subclasses(kind: type) -> Iterator[type]:
    """All classes below one."""
    for one in kind.__subclasses__():
        yield from (one, *subclasses(one))


def test_what_is_committed_is_what_the_models_say() -> None:
    text = document.README.read_text()
    assert text == document.readme(), "run python -m trimllm_paper.config.document"


@pytest.mark.parametrize("kind", [models.Config, Domain])
def test_every_key_has_a_meaning(kind: type) -> None:
    schema = document.schema(kind)
    assert not [path for path, one in keys(schema, schema) if not one.get("description")]


def test_every_meaning_belongs_to_a_key() -> None:
    told = {(kind, key) for kind, keys in explain.meanings().items() for key in keys}
    kinds = {kind.__name__: kind for kind in subclasses(parts.Section)}
    known = {(n, f.alias or key) for n, k in kinds.items() for key, f in k.model_fields.items()}
    assert not told - known


def test_every_key_stands_in_the_default_file() -> None:
    default = (ROOT / "config/config.yaml").read_text()
    schema = document.schema(models.Config)
    told_otherwise = ("hub", "revision", "directory", "tag")
    missing = [path for path, _ in keys(schema, schema) if f"{path.split('.')[-1]}:" not in default]
    assert not [path for path in missing if path.split(".")[-1] not in told_otherwise]


def test_families_are_those_with_an_adapter() -> None:
    assert set(models.FAMILIES) == set(supported_families())
