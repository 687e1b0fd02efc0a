"""Write what follows from the models: JSON schemas for editors, and the keys in config/README.md.

    python -m trimllm_paper.config.document [--check]

`--check` writes nothing and fails where a file is not what it would be.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from trimllm_paper.config.load import PROJECT, read_yaml
from trimllm_paper.config.models import Config, Domain
from trimllm_paper.config.tree import Node, schema, tree

MARK = "<!-- What follows is made by python -m trimllm_paper.config.document; do not edit it. -->\n"
WORDS = {"string": "text", "boolean": "true or false", "object": "mapping", "array": "list"}


def sections(
    kinds: Sequence[Node], path: str, meaning: str, why: Mapping[str, str]
) -> Iterator[str]:
    """Lines of a section and of those inside: a table of the keys that are none themselves.

    Args:
        kinds: the section; several where it is one of several kinds.
        path: of the section, ending in a dot unless it is the whole.
        meaning: of the section, for its head.
        why: path of a key -> sentences beside its meaning.
    """
    yield from ("", f"### `{path[:-1]}`", "", meaning) if path else ()
    inside, rows = {}, {}
    for node in kinds:
        for key, one in node["properties"].items():
            at = f"{path}{key}"
            told = " ".join(filter(None, (_sentence(one["description"]), why.get(at))))
            held = one.get("each", one)
            if "kinds" in held or "properties" in held:
                below = "." if held is one else ".N." if "items" in one else ".NAME."
                inside[at + below] = [*held.get("kinds", {"": held}).values()], told
            else:
                needed = key in node.get("required", ())
                default = "required" if needed else f"`{json.dumps(one['default'])}`"
                rows[f"| `{key}` | {in_words(one)}; {default} | {told} |"] = None
    yield from ("", "| key | type, default | meaning, and why |", "|---|---|---|") if rows else ()
    yield from rows
    for below, (nodes, told) in inside.items():
        yield from sections(nodes, below, told, why)


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


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
    made = {}
    for name, kind in (("config", Config), ("domain", Domain)):
        text = json.dumps(schema(kind), indent=1, ensure_ascii=False) + "\n"
        made[root / "workflow" / "schemas" / f"{name}.schema.json"] = text
    readme = root / "config" / "README.md"
    why = read_yaml(Path(__file__).with_name("why.yaml"))
    lines = ["", "## Keys of a configuration", *sections([tree(Config)], "", "", why)]
    lines += ["", "## Keys of a domain's file", *sections([tree(Domain)], "", "", {})]
    head = readme.read_text(encoding="utf-8").partition(MARK)[0]
    return made | {readme: head + MARK + "\n".join(lines) + "\n"}


def main(arguments: Sequence[str]) -> int:
    """Write the files, or check them; 1 where one is not what it must be."""
    check, stale = "--check" in arguments, 0
    for path, text in files(PROJECT).items():
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            stale += 1
            print(f"{path}: {'not what the models say' if check else 'written'}")
            if not check:
                path.write_text(text, encoding="utf-8")
    return int(check and stale > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
