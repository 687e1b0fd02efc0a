"""Write a checkpoint as an engine reads it: `trimllm export CHECKPOINT --format gguf_q8_0`.

It is verified in that engine before it is saved; the last line tells how to serve it.
"""

from __future__ import annotations

import sys
from pathlib import Path

from trimllm.base.errors import UserError


def run(
    checkpoint: Path, format: str, output: Path | None, untrimmed: Path | None, texts: Path | None
) -> int:
    """Export, and say where and how to serve it."""
    held_back = texts.read_text(encoding="utf-8").splitlines() if texts else []
    if texts and not any(map(str.strip, held_back)):
        raise UserError(f"{texts} holds no text; one a line is needed")
    import trimllm  # needs torch

    made = trimllm.export(
        checkpoint, format, output, [one for one in held_back if one.strip()], untrimmed=untrimmed
    )
    print(f"{made}: verified; README.md and export.json tell of it", file=sys.stderr)
    gguf = next(made.glob("*.gguf"), None)
    print(f"llama-server -m {gguf}    # or: trimllm serve {made}" if gguf else made)
    return 0
