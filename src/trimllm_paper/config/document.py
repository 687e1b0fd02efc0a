"""Write the keys in config/README.md, or print a JSON schema for an editor that completes keys.

python -m trimllm_paper.config.document [config | domain]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import jinja2

from trimllm_paper.config.explain import schema, tree
from trimllm_paper.config.load import PROJECT
from trimllm_paper.config.models import Config, Domain

MARK = "<!-- What follows is made by python -m trimllm_paper.config.document; do not edit it. -->\n"
README = PROJECT / "config" / "README.md"


def readme() -> str:
    """config/README.md: its own text, then the keys by the models."""
    page = jinja2.Template(
        Path(__file__).with_name("keys.jinja").read_text(encoding="utf-8"),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    trees = {"a configuration": tree(Config), "a domain's file": tree(Domain)}
    head = README.read_text(encoding="utf-8").partition(MARK)[0]
    return head + MARK + page.render(trees=trees, json=json.dumps)


if __name__ == "__main__":
    if sys.argv[1:]:
        kind = {"config": Config, "domain": Domain}[sys.argv[1]]
        print(json.dumps(schema(kind), indent=1, ensure_ascii=False))
    else:
        README.write_text(readme(), encoding="utf-8")
