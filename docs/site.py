"""Hooks of mkdocs (mkdocs.yml): pages made from files that are not Markdown below docs/."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

FOLDER = Path(__file__).parent
OUTSIDE = re.compile(r"\[([^\]]+)\]\((?:\.\./)+(?!docs/)[^)]+\)")
"""A link to a file of the repository that is no page of the site."""


def on_files(files: Files, config: Any) -> Files:
    """Add the notebook and the generated reference of the configuration."""
    cells = json.loads((FOLDER / "notebook.ipynb").read_text(encoding="utf-8"))["cells"]
    notebook = "\n\n".join(part for cell in cells for part in _parts(cell))
    files.append(File.generated(config, "notebook.md", content=notebook))
    reference = (FOLDER.parent / "config/README.md").read_text(encoding="utf-8")
    reference = reference.replace("](../docs/", "](")
    files.append(File.generated(config, "configuration.md", content=reference))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Point to the generated reference; keep the text of links that lead out of the site."""
    return OUTSIDE.sub(r"\1", markdown.replace("](../config/README.md", "](configuration.md"))


def _parts(cell: dict[str, Any]) -> Iterator[str]:
    """Text or code of a cell, and its outputs."""
    source = "".join(cell["source"])
    yield source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```"
    for output in cell.get("outputs", ()):
        data = output.get("data", {})
        if "text/html" in data:
            yield "".join(data["text/html"])
        else:
            yield "```text\n" + "".join(output.get("text") or data["text/plain"]).rstrip() + "\n```"
