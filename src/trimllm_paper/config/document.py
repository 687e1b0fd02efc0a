"""Write what follows from the models: JSON schemas for editors, and the keys in config/README.md.

python -m trimllm_paper.config.document
"""

from __future__ import annotations

import json
from pathlib import Path

import jinja2

from trimllm_paper.config.explain import schema, tree
from trimllm_paper.config.load import PROJECT
from trimllm_paper.config.models import Config, Domain

MARK = "<!-- What follows is made by python -m trimllm_paper.config.document; do not edit it. -->\n"


def files(root: Path) -> dict[Path, str]:
    """Every file that follows from the models, and what it must hold."""
    page = jinja2.Template(
        Path(__file__).with_name("keys.jinja").read_text(encoding="utf-8"),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    trees = {"a configuration": tree(Config), "a domain's file": tree(Domain)}
    readme = root / "config" / "README.md"
    head = readme.read_text(encoding="utf-8").partition(MARK)[0]
    made = {readme: head + MARK + page.render(trees=trees, json=json.dumps)}
    for name, kind in (("config", Config), ("domain", Domain)):
        text = json.dumps(schema(kind), indent=1, ensure_ascii=False) + "\n"
        made[root / "workflow" / "schemas" / f"{name}.schema.json"] = text
    return made


if __name__ == "__main__":
    for path, text in files(PROJECT).items():
        path.write_text(text, encoding="utf-8")
