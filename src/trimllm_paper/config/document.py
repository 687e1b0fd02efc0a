"""Write what follows from the models: JSON schemas for editors, and the keys in config/README.md.

    python -m trimllm_paper.config.document [--check]

`--check` writes nothing and fails where a file is not what it would be.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from trimllm.base.errors import UserError
from trimllm_paper.config.load import PROJECT, read_yaml
from trimllm_paper.config.models import Config, Domain
from trimllm_paper.config.parts import Section

MARK = "<!-- What follows is made by python -m trimllm_paper.config.document; do not edit it. -->"
TYPES = {"string": "text", "boolean": "true or false", "null": "null"}


class _Untitled(GenerateJsonSchema):
    """Without titles, which only say a key's name once more."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def schema(kind: type[Section]) -> dict[str, Any]:
    """JSON schema of a model."""
    return kind.model_json_schema(schema_generator=_Untitled)


class Keys:
    """The keys of a model as sections with Markdown tables."""

    def __init__(self, kind: type[Section], why: dict[str, str], level: int) -> None:
        self.schema, self.why, self.level = schema(kind), why, level

    def text(self) -> Iterator[str]:
        """Lines of all sections, the outermost first."""
        yield from self._section("", self.schema)

    def _section(self, path: str, node: dict[str, Any]) -> Iterator[str]:
        keys, inside = node["properties"], []
        plain = [(key, one) for key, one in keys.items() if not self._sections(key, one)]
        if plain:
            yield from ("", "| key | type, default | meaning, and why |", "|---|---|---|")
        for key, one in plain:
            default = "required" if key in node.get("required", ()) else self._default(one)
            meaning = self._meaning(f"{path}{key}", one.get("description", ""))
            yield f"| `{key}` | {self._type(one)}; {default} | {meaning} |"
        for key, one in keys.items():
            inside += self._sections(key, one)
        for name, sub in inside:
            key = name.split(".")[0].split("[")[0]
            yield from ("", f"{'#' * self.level} `{path}{name}`", "")
            own = sub.get("description", "")
            told = self._meaning(f"{path}{key}", keys[key].get("description", own))
            yield f"{told} {own}" if "kind" in sub else told
            yield from self._section(f"{path}{name}.", sub)

    def _sections(self, key: str, node: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
        """Sections that a key holds: itself, those of its names, or of its items."""
        if "$ref" in node:
            return [(key, self._followed(node))]
        for name, held in (
            (f"{key}.NAME", next(iter(node.get("patternProperties", {"": None}).values()))),
            (f"{key}.NAME", node.get("additionalProperties")),
            (f"{key}[]", node.get("items")),
            (key, node if "oneOf" in node else None),
        ):
            if isinstance(held, dict) and ("$ref" in held or "oneOf" in held):
                kinds = held.get("oneOf", [held])
                return [
                    (name, {**self._followed(one), **({"kind": 1} if "oneOf" in held else {})})
                    for one in kinds
                ]
        return []

    def _followed(self, node: dict[str, Any]) -> dict[str, Any]:
        return self.schema["$defs"][node["$ref"].rpartition("/")[2]]

    def _meaning(self, path: str, meaning: str) -> str:
        text = f"{meaning[:1].upper()}{meaning[1:].rstrip('.')}."
        return f"{text} {self.why[path]}" if path in self.why else text

    def _default(self, node: dict[str, Any]) -> str:
        return f"`{json.dumps(node['default'], ensure_ascii=False)}`"

    def _type(self, node: dict[str, Any]) -> str:
        """Type and range in words."""
        if "anyOf" in node:
            return " or ".join(dict.fromkeys(map(self._type, node["anyOf"])))
        if "$ref" in node:
            return "mapping"
        if "enum" in node or "const" in node:
            return ", ".join(f"`{one}`" for one in node.get("enum", [node.get("const")]))
        if node["type"] == "array":
            return f"list of {self._type(node['items'])}"
        if node["type"] == "object":
            return "mapping"
        low, high = node.get("minimum", node.get("exclusiveMinimum")), node.get("maximum")
        kind = TYPES.get(node["type"], node["type"])
        if high is not None:
            return f"{kind} in {'(' if 'exclusiveMinimum' in node else '['}{low}, {high}]"
        sign = ">" if "exclusiveMinimum" in node else "≥"
        return kind if low is None else f"{kind} {sign} {low}"


def readme(old: str) -> str:
    """config/README.md: its head, which is written by hand, and all keys."""
    head, mark, _ = old.partition(MARK)
    if not mark:
        raise UserError(f"config/README.md lacks the line {MARK}")
    why = read_yaml(Path(__file__).with_name("why.yaml"))
    config = Keys(Config, why, 3).text()
    domain = Keys(Domain, why, 3).text()
    lines = [mark, "", "## Keys", *config, "", "## Keys of a domain's file", *domain]
    return head + "\n".join(lines) + "\n"


def files(root: Path) -> dict[Path, str]:
    """Every file that follows from the models, and what it must hold."""
    made = {}
    for name, kind in (("config", Config), ("domain", Domain)):
        text = json.dumps(schema(kind), indent=1, ensure_ascii=False) + "\n"
        made[root / "workflow" / "schemas" / f"{name}.schema.json"] = text
    path = root / "config" / "README.md"
    return made | {path: readme(path.read_text(encoding="utf-8"))}


def main(arguments: Sequence[str]) -> int:
    """Write the files, or check them; 1 where one is not what it must be."""
    stale = []
    for path, text in files(PROJECT).items():
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            stale.append(str(path.relative_to(PROJECT)))
            if "--check" not in arguments:
                path.write_text(text, encoding="utf-8")
    told = "not what the configuration's models say" if "--check" in arguments else "written"
    print(f"{', '.join(stale)}: {told}" if stale else "everything is as it must be")
    return 1 if stale and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
