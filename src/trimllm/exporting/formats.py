"""Export formats and the engines that verify them. Imports no torch: workflows are planned with
it."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from trimllm.base import workers
from trimllm.base.errors import UserError

TYPES = ("f32", "f16", "bf16", "q8_0", "q6_k", "q4_k", "q4_0")
"""Types of the matrices in a GGUF file, by their names in llama.cpp."""
DEFAULT_TYPE = "f16"
QUANTIZED = ("q8_0", "q6_k", "q4_k", "q4_0")
VARIANTS = (*(f"gguf_{kind}" for kind in TYPES), "vllm", "padded")
"""Formats with their types, as in paths: GGUF for llama.cpp, a checkpoint for vLLM, and a stock
model of full size for every other engine."""
LLAMA_CPP = "xllamacpp"
"""Wheel that holds llama.cpp."""


def split_variant(variant: str) -> tuple[str, str]:
    """Format and type ("" for none) of a name of `VARIANTS`: ("gguf", "q8_0"); `UserError` for
    other names."""
    if variant not in VARIANTS:
        raise UserError(f"no export format {variant!r} (there are: {', '.join(VARIANTS)})")
    name, _, kind = variant.partition("_")
    return name, kind


def require_llama_cpp() -> None:
    """Raise `UserError` if llama.cpp is not installed."""
    if importlib.util.find_spec(LLAMA_CPP) is None:
        raise UserError(
            "llama.cpp, which verifies GGUF files, is not installed: "
            f"pip install {LLAMA_CPP} (the extra trimllm[export])"
        )


def vllm_python() -> Path:
    """Python of vLLM's environment. Raises `UserError` if it is not installed."""
    return workers.python_of("vllm", "vllm-env")


def require_engine(variant: str) -> None:
    """Raise `UserError` if the engine that verifies a format is not installed."""
    name, _ = split_variant(variant)
    if name == "gguf":
        require_llama_cpp()
    elif name == "vllm":
        vllm_python()
