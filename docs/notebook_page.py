"""Makes docs/notebook.ipynb a page of the API reference; mkdocs runs it (`hooks` in mkdocs.yml)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

NOTEBOOK = Path(__file__).with_name("notebook.ipynb")


def on_files(files: Files, config: Any) -> Files:
    """Add the page, as Markdown."""
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    text = "\n\n".join(part for cell in cells for part in _parts(cell))
    files.append(File.generated(config, "notebook.md", content=text))
    return files


def _parts(cell: dict[str, Any]) -> Iterator[str]:
    """Of a cell its text or code, and what it shows."""
    source = "".join(cell["source"])
    yield source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```"
    for output in cell.get("outputs", ()):
        data = output.get("data", {})
        if "text/html" in data:
            yield "".join(data["text/html"])
        else:
            yield "```text\n" + "".join(output.get("text") or data["text/plain"]).rstrip() + "\n```"
