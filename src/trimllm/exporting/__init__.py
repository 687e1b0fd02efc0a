"""Exports: a checkpoint in the form that an engine reads, proven there.

A format is one entry of `MAKERS` in `makers.py`; `formats` imports no torch: a workflow is planned
with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trimllm.exporting.formats import DEFAULT_TYPE, TYPES, VARIANTS, ExportSettings  # noqa: F401


def export(
    path: str | Path,
    format: str = "gguf",
    output: str | Path | None = None,
    texts: Sequence[str | tuple[str, str]] = (),
    **options: Any,
) -> Path:
    """Write a checkpoint as an engine reads it, and prove it there before it gets its name.

    Args:
        path: a dense checkpoint directory, plain or trimmed.
        format: "gguf" (llama.cpp; 16 bits) or with a type, "gguf_q8_0"; "vllm"; "padded".
        output: the folder to be; None puts it beside the checkpoint, as `PATH-FORMAT`.
        texts: held-back texts, or pairs of prompt and answer, to prove it on; none takes a few
            sentences.
        options: `untrimmed`, `facts` and `settings` of `trimllm.exporting.run.export`.

    Returns:
        The folder: the model, its card, the proof (export.json), manifest.json.

    Raises:
        UserError: in one line: the engine is not installed, cannot run this model, or does not
            compute what transformers does. Nothing is left then.
    """
    from trimllm.exporting.run import export as run  # needs torch

    variant = f"gguf_{DEFAULT_TYPE}" if format == "gguf" else format
    folder = Path(path).absolute()
    folder = folder.with_name(f"{folder.name}-{variant}") if output is None else Path(output)
    run(path, variant, folder, texts, **options)
    return folder
