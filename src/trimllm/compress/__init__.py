"""Compressors: AWQ, GPTQ, SparseGPT 2:4, LLM.int8() and LLM-Pruner, one file a method.

Every method has the same shape: a dense checkpoint, plain or trimmed, and texts go in; a checkpoint
that `trimllm.load`, stock transformers and lm-eval read comes out, with the surviving units only.
A new one is a file here, whose `METHOD` says what `run` has to know, and its entry in `METHODS`.

`engines` imports no torch: a workflow is planned with it. Packages of engines are imported by the
functions that run them: who uses one engine need not have the others.
"""

from typing import Any

from trimllm.compress.engines import (  # noqa: F401
    ENGINES,
    METHODS,
    CompressSettings,
    default_engine,
    missing_package,
)


def __getattr__(name: str) -> Any:
    """`check` and `compress`, which need torch."""
    if name not in ("check", "compress"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from trimllm.compress import run

    return getattr(run, name)
