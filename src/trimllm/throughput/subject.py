"""What is timed: a checkpoint, an export of one, or a shape with random weights."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from trimllm.base.errors import UserError
from trimllm.throughput.shapes import SHAPES, Chain, kept_units

PACKAGES = {
    "awq_int4": "gptqmodel",
    "gptq_int4": "gptqmodel",
    "sparsegpt_2_4": "torch",
    "llm_int8": "bitsandbytes",
}
"""Compressors that change how fast a layer of a given shape is -> what has their kernels.
LLM-Pruner changes the shape itself: its checkpoints are timed."""


@dataclass(frozen=True)
class Subject:
    """One model to time, and how it runs.

    Attributes:
        checkpoint: a directory; or, with random weights,
        shape: a name of `shapes.SHAPES`.
        units: with a shape, the sublayers that are left as (block, kind); None keeps all.
        compressor: with a shape, one of `PACKAGES` or None. A checkpoint brings its own.
        group_size: of int4, input features that share a scale.
        format: one of `formats.FORMATS`.
        export: GGUF file of a `gguf_*` format, folder of a "vllm" export.
        dtype: of the weights and of the products: "float32", "bfloat16" or "float16".
        device: "cpu" or "cuda".
        threads: on a CPU.
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


def shape_subject(
    name: str,
    pattern: float | Chain | None = None,
    kept_percent: float = 100.0,
    compressor: str | None = None,
    **options: Any,
) -> Subject:
    """A shape with random weights, of which a pattern (None: all) keeps a share of the sublayers.

    Args:
        options: further attributes of `Subject`.

    Raises:
        UserError: a pattern that cannot drop so many, or a compressor without kernels here.
    """
    units = None
    if pattern is not None:
        units = tuple(kept_units(SHAPES[name]["num_hidden_layers"], kept_percent, pattern))
    subject = Subject(shape=name, units=units, compressor=compressor, **options)
    if compressor:
        _require_kernels(name, compressor, subject.group_size)
    return subject


def _require_kernels(shape: str, compressor: str, group_size: int) -> None:
    if compressor not in PACKAGES:
        raise UserError(
            f"compressor {compressor!r} cannot be timed on random weights (there are: "
            f"{', '.join(PACKAGES)}); time a compressed checkpoint instead"
        )
    if importlib.util.find_spec(PACKAGES[compressor]) is None:
        raise UserError(
            f"{compressor} runs on kernels of {PACKAGES[compressor]}, which is not installed; "
            f"install it or leave {compressor} out"
        )
    for name in ("hidden_size", "intermediate_size"):
        if "int4" in compressor and SHAPES[shape][name] % group_size:
            raise UserError(
                f"group size {group_size} does not divide {shape}'s {name} {SHAPES[shape][name]}; "
                "use 64 or 32"
            )
