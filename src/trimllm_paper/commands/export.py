"""Export a checkpoint for an engine: `trimllm export CHECKPOINT --format gguf_q8_0`.

It is verified in that engine before it is saved; the last line is the command that serves it.
"""

from __future__ import annotations

import sys
from pathlib import Path

from trimllm.base.errors import UserError


def run(checkpoint: Path, format: str, output: Path | None, texts: Path | None) -> int:
    """Export; print where it is and how to serve it."""
    lines = texts.read_text(encoding="utf-8").splitlines() if texts else []
    held_back = [line for line in lines if line.strip()]
    if texts and not held_back:
        raise UserError(f"{texts} holds no text; one a line is needed")
    import trimllm  # needs torch

    folder = trimllm.export(checkpoint, format, output, held_back)
    print(f"{folder}: verified; see README.md and export.json", file=sys.stderr)
    gguf = next(folder.glob("*.gguf"), None)
    print(f"llama-server -m {gguf}    # or: trimllm serve {folder}" if gguf else folder)
    return 0
