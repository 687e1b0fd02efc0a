"""Write what follows from the models: JSON schemas for editors, and the keys in config/README.md.

python -m trimllm_paper.config.document
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from trimllm_paper.config.explain import Node, schema, tree
from trimllm_paper.config.load import PROJECT
from trimllm_paper.config.models import Config, Domain

MARK = "<!-- What follows is made by python -m trimllm_paper.config.document; do not edit it. -->\n"
WORDS = {"string": "text", "boolean": "true or false", "object": "mapping", "array": "list"}


def sections(kinds: Sequence[Node], path: str, meaning: str) -> Iterator[str]:
    """Lines of a section and of those inside: a table of the keys that are none themselves.

    Args:
        kinds: the section; several where it is one of several kinds.
        path: of the section, ending in a dot unless it is the whole.
        meaning: of the section, for its head.
    """
    yield from ("", f"### `{path[:-1]}`", "", meaning) if path else ()
    inside, rows = {}, {}
    for node in kinds:
        for key, one in node["properties"].items():
            meaning, _, why = one["description"].partition("\n")
            told = f"{meaning[0].upper()}{meaning[1:]}. {why}".rstrip()
            held = one.get("each", one)
            if "kinds" in held or "properties" in held:
                below = "." if held is one else ".N." if "items" in one else ".NAME."
                inside[f"{path}{key}{below}"] = [*held.get("kinds", {"": held}).values()], told
            else:
                needed = key in node.get("required", ())
                default = "required" if needed else f"`{json.dumps(one['default'])}`"
                rows[f"| `{key}` | {in_words(one)}; {default} | {told} |"] = None
    yield from ("", "| key | type, default | meaning, and why |", "|---|---|---|") if rows else ()
    yield from rows
    for below, (nodes, told) in inside.items():
        yield from sections(nodes, below, told)


def in_words(node: Node) -> str:
    """Type and range of a key."""
    null = " or null" if "null" in node["types"] else ""
    if choices := node.get("enum") or [one for one in [node.get("const")] if one]:
        return ", ".join(f"`{one}`" for one in choices) + null
    types = [one for one in node["types"] if one != "null"]
    if types == ["array"]:
        return f"list of {in_words(node['each'])}{null}"
    low, high = node.get("minimum", node.get("exclusiveMinimum")), node.get("maximum")
    open_ = "exclusiveMinimum" in node
    words = " or ".join(WORDS.get(one, one) for one in types)
    if high is not None:
        words += f" in {'(' if open_ else '['}{low}, {high}]"
    elif low is not None:
        words += f" {'>' if open_ else '≥'} {low}"
    return words + null


def files(root: Path) -> dict[Path, str]:
    """Every file that follows from the models, and what it must hold."""
    readme, schemas = root / "config" / "README.md", root / "workflow" / "schemas"
    made, text = {}, readme.read_text(encoding="utf-8").partition(MARK)[0] + MARK
    for kind, head in ((Config, "a configuration"), (Domain, "a domain's file")):
        told = json.dumps(schema(kind), indent=1, ensure_ascii=False)
        made[schemas / f"{kind.__name__.lower()}.schema.json"] = f"{told}\n"
        lines = ["", f"## Keys of {head}", *sections([tree(kind)], "", "")]
        text += "".join(f"{line}\n" for line in lines)
    return made | {readme: text}


if __name__ == "__main__":
    for path, text in files(PROJECT).items():
        path.write_text(text, encoding="utf-8")
