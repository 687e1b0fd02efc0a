"""What is timed: a checkpoint, an export of one, or a shape with random weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

KERNELS = {
    "awq_int4": "gptqmodel",
    "gptq_int4": "gptqmodel",
    "sparsegpt_2_4": "torch",
    "llm_int8": "bitsandbytes",
}
"""Compressors that change how fast a layer of a given shape is -> package with their kernels.
LLM-Pruner changes the shape itself: its checkpoints are timed."""


@dataclass(frozen=True)
class Subject:
    """One model to time, and how it runs.

    Attributes:
        checkpoint: a directory; or, with random weights,
        shape: a name of `shapes.SHAPES`, with `units`, the sublayers that are left as (block, kind)
            (None: all), `compressor`, one of `KERNELS` or None, and `group_size` of int4.
        format: one of `exporting.formats.FORMATS`, with `export`: the GGUF file of a `gguf_*`
            format, the folder of a "vllm" export.
        dtype: of the weights and of the products: "float32", "bfloat16" or "float16".
        device: "cpu" (with `threads`) or "cuda".
        mode: "eager", or "compiled": `torch.compile` with CUDA graphs where there is a GPU.
        trust_remote_code: with a checkpoint, run code that lies beside the weights.
        facts: recorded with its figures.
    """

    checkpoint: str | None = None
    shape: str | None = None
    units: tuple[tuple[int, str], ...] | None = None
    compressor: str | None = None
    group_size: int = 128
    format: str = "transformers"
    export: str | None = None
    dtype: str = "bfloat16"
    device: str = "cpu"
    threads: int = 1
    mode: str = "eager"
    trust_remote_code: bool = False
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        name = self.checkpoint or f"shape {self.shape}"
        return f"{name} + {self.compressor}" if self.compressor else f"{name} as {self.format}"
