"""What is timed: a checkpoint, or a shape with random weights; and how it runs."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trimllm.base.errors import UserError
from trimllm.throughput.shapes import Chain, kept_units, shape

PACKAGES = {
    "awq_int4": "gptqmodel",
    "gptq_int4": "gptqmodel",
    "sparsegpt_2_4": "torch",
    "llm_int8": "bitsandbytes",
}
"""Compressors that change how fast a layer of a given shape is, and what has their kernels.
LLM-Pruner changes the shape itself: its checkpoints are timed."""
INT4 = ("awq_int4", "gptq_int4")
DTYPES = ("float32", "bfloat16", "float16")


@dataclass(frozen=True)
class Subject:
    """One model to time.

    Attributes:
        checkpoint: a directory; or, with random weights,
        shape: a name of `shapes.SHAPES`.
        units: with a shape, the sublayers that are left as (block, kind); None keeps all.
        compressor: with a shape, one of `PACKAGES` or None. A checkpoint brings its own.
        group_size: of int4, input features that share a scale.
        symmetric: of gptq_int4, without zero codes of its own, as auto-gptq makes it: another
            kernel on a GPU.
        dtype: of the weights and of the products, one of `DTYPES`.
        device: "cpu" or "cuda".
        threads: of torch, on a CPU.
        mode: "eager", or "compiled": `torch.compile` with CUDA graphs where there is a GPU.
        trust_remote_code: with a checkpoint, run code that lies beside the weights.
    """

    checkpoint: str | None = None
    shape: str | None = None
    units: tuple[tuple[int, str], ...] | None = None
    compressor: str | None = None
    group_size: int = 128
    symmetric: bool = False
    dtype: str = "bfloat16"
    device: str = "cpu"
    threads: int = 1
    mode: str = "eager"
    trust_remote_code: bool = False

    def __post_init__(self) -> None:
        if self.units is not None:  # lists after a way through JSON
            object.__setattr__(self, "units", tuple((block, kind) for block, kind in self.units))

    def __str__(self) -> str:
        name = self.checkpoint or f"shape {self.shape}"
        return f"{name} + {self.compressor}" if self.compressor else name

    def check(self) -> None:
        """Raise `UserError` for what cannot be timed, before anything heavy is imported."""
        if (self.checkpoint is None) == (self.shape is None):
            raise UserError("name a checkpoint or a shape, and not both")
        if self.dtype not in DTYPES:
            raise UserError(f"dtype {self.dtype!r} is none of {', '.join(DTYPES)}")
        if self.checkpoint is not None:
            if not (Path(self.checkpoint) / "config.json").is_file():
                raise UserError(f"{self.checkpoint} is no checkpoint: it has no config.json")
            return
        sizes = shape(self.shape or "")
        if self.compressor not in (None, *PACKAGES):
            raise UserError(
                f"compressor {self.compressor!r} cannot be timed on random weights "
                f"(there are: {', '.join(PACKAGES)}); time a compressed checkpoint instead"
            )
        package = PACKAGES.get(self.compressor or "", "torch")
        if importlib.util.find_spec(package) is None:
            raise UserError(
                f"{self.compressor} runs on kernels of {package}, which is not installed; install "
                f"it or leave {self.compressor} out"
            )
        for name in ("hidden_size", "intermediate_size"):
            if self.compressor in INT4 and sizes[name] % self.group_size:
                raise UserError(
                    f"group size {self.group_size} does not divide {self.shape}'s {name} "
                    f"{sizes[name]}; use 64 or 32"
                )


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

    Raises `UserError` for an unknown shape and for a pattern that cannot drop so many.
    """
    left = None
    if pattern is not None:
        left = tuple(kept_units(shape(name)["num_hidden_layers"], kept_percent, pattern))
    return Subject(shape=name, units=left, compressor=compressor, **options)
