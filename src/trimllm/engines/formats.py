"""Which engine runs which format; light, since a workflow is planned with it."""

from __future__ import annotations

from trimllm.base.errors import UserError
from trimllm.exporting.formats import VARIANTS, require_engine

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
DRAFTING = (TRANSFORMERS, "gguf_f16")
"""Formats in which the trimmed model drafts for the full one: those that lose nothing."""


def require(engine: str) -> None:
    """Raise `UserError` where an engine is not installed."""
    if engine != TRANSFORMERS:
        require_engine(VLLM if engine == VLLM else "gguf_f16")


def installed(engine: str) -> bool:
    """Whether an engine is installed here."""
    try:
        require(engine)
    except UserError:
        return False
    return True
