"""What is measured: a checkpoint, or a shape with random weights; and how it is run."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from trimllm.base.errors import UserError
from trimllm.throughput.shapes import shape, unit_parameters

COMPRESSORS = ("awq_int4", "gptq_int4", "sparsegpt_2_4", "llm_int8")
"""Those that change how fast a layer of a given shape is. LLM-Pruner changes the shape itself: its
checkpoints are measured, random weights have nothing to choose by."""
INT4 = COMPRESSORS[:2]
PACKAGES = {"awq_int4": "gptqmodel", "gptq_int4": "gptqmodel", "llm_int8": "bitsandbytes"}
"""What has the kernels of a compressor; the others need torch alone."""
BYTES = {"float32": 4.0, "bfloat16": 2.0, "float16": 2.0}


@dataclass(frozen=True)
class Subject:
    """One model to measure.

    Attributes:
        checkpoint: a directory; or, with random weights,
        shape: a name of `shapes.SHAPES`.
        units: with a shape, the units that are left as (block, kind); None keeps all.
        compressor: with a shape, one of `COMPRESSORS` or None. A checkpoint brings its own.
        group_size: of int4, input features that share a scale.
        dtype: of the weights and of the products: float32, bfloat16, float16.
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
    dtype: str = "bfloat16"
    device: str = "cpu"
    threads: int = 1
    mode: str = "eager"
    trust_remote_code: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for a process of its own."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Subject:
        """The opposite of `as_dict`, also after a way through JSON."""
        kept = values.get("units")
        units = None if kept is None else tuple((int(b), str(kind)) for b, kind in kept)
        return cls(**{**values, "units": units})

    def check(self) -> None:
        """Raise `UserError` for what cannot be measured, before anything heavy is imported."""
        if (self.checkpoint is None) == (self.shape is None):
            raise UserError("name a checkpoint or a shape, and not both")
        if self.dtype not in BYTES:
            raise UserError(f"dtype {self.dtype!r} is none of {', '.join(BYTES)}")
        if self.checkpoint is not None:
            if not (Path(self.checkpoint) / "config.json").is_file():
                raise UserError(f"{self.checkpoint} is no checkpoint: it has no config.json")
            return
        sizes = shape(self.shape)
        if self.compressor not in (None, *COMPRESSORS):
            raise UserError(
                f"compressor {self.compressor!r} cannot be timed on random weights "
                f"(there are: {', '.join(COMPRESSORS)}); measure a compressed checkpoint instead"
            )
        package = PACKAGES.get(self.compressor or "")
        if package and importlib.util.find_spec(package) is None:
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

    def weight_bytes(self) -> int:
        """About how many bytes the weights take in memory: planned with, before they exist."""
        if self.checkpoint is not None:
            return sum(file.stat().st_size for file in Path(self.checkpoint).glob("*.safetensors"))
        sizes = shape(self.shape)
        per_unit = unit_parameters(sizes)
        every = [(b, k) for b in range(sizes["num_hidden_layers"]) for k in per_unit]
        inside = sum(per_unit[kind] for _, kind in (self.units or every))
        tables = 1 if sizes.get("tie_word_embeddings") else 2
        outside = tables * sizes["vocab_size"] * sizes["hidden_size"]
        plain = BYTES[self.dtype]
        each = {"llm_int8": 1.0, **dict.fromkeys(INT4, 0.5 + 4.5 / self.group_size)}
        return int(inside * each.get(self.compressor, plain) + outside * plain)
