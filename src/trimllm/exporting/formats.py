"""Formats of an export and what a number in them may be; light, since a workflow is planned with
it."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from trimllm.base import environments
from trimllm.base.errors import UserError

TYPES = ("f32", "f16", "bf16", "q8_0", "q6_k", "q4_k", "q4_0")
"""Types of the matrices in a GGUF file, by their names in llama.cpp."""
DEFAULT_TYPE = "f16"
QUANTIZED = ("q8_0", "q6_k", "q4_k", "q4_0")
FORMATS = {
    "gguf": "llama.cpp and all that is built on it: one GGUF file, surviving weights only",
    "vllm": "vLLM: the checkpoint with its own code, surviving weights only",
    "padded": "anything that reads a stock model: full size, missing units do nothing",
}
"""What an export is for."""
VARIANTS = (*(f"gguf_{kind}" for kind in TYPES), "vllm", "padded")
"""Names of formats with their types, as they stand in paths."""
RECORD = "export"
"""Stem of the file beside an export that holds its proof."""
LLAMA_CPP = "xllamacpp"
"""The wheel that llama.cpp comes in."""


@dataclass(frozen=True)
class ExportSettings:
    """How to export."""

    threads: int = 1  # of the processes that prove


def split_variant(variant: str) -> tuple[str, str]:
    """Format and type ("" for none) of a name of `VARIANTS`: ("gguf", "q8_0").

    Raises `UserError` for others.
    """
    if variant not in VARIANTS:
        raise UserError(f"no export format {variant!r} (there are: {', '.join(VARIANTS)})")
    name, _, kind = variant.partition("_")
    return name, kind


def require_llama_cpp() -> None:
    """Raise `UserError` where llama.cpp is not installed."""
    if importlib.util.find_spec(LLAMA_CPP) is None:
        raise UserError(
            f"llama.cpp is not installed, in which a GGUF file proves itself: "
            f"pip install {LLAMA_CPP} (the extra trimllm[export])"
        )


def vllm_python() -> Path:
    """The Python of vLLM's environment; `UserError` where it is not installed."""
    return environments.python_of("vLLM", "vllm", "vllm-env")


def require_engine(variant: str) -> None:
    """Raise `UserError` where the engine that proves a format is not installed."""
    match split_variant(variant)[0]:
        case "gguf":
            require_llama_cpp()
        case "vllm":
            vllm_python()
