"""What is timed: a checkpoint, an export of one, or a shape with random weights. A pattern decides
which sublayers a trimmed shape lacks, and is always named with its result: the share of attention
among them. They are spread evenly over the blocks."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from trimllm.base.errors import UserError
from trimllm.base.kept import drops_for

_SIZES = (
    *("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers"),
    *("num_attention_heads", "num_key_value_heads", "tie_word_embeddings"),
)
_SHAPES = {
    # LLaMA-7B of the paper (Touvron et al. 2023, table 2)
    "llama-7b": (32000, 4096, 11008, 32, 32, 32, False),
    # LLaMA's architecture and vocabulary at 1.1B parameters, as TinyLlama has them
    "llama-1b": (32000, 2048, 5632, 22, 32, 4, False),
    "smollm2-135m": (49152, 576, 1536, 30, 9, 3, True),
    "llama-tiny": (512, 128, 256, 4, 4, 2, False),  # for tests
}
# Keyword arguments of `transformers.LlamaConfig`, by the name of the shape.
SHAPES: dict[str, dict[str, Any]] = {
    name: dict(zip(_SIZES, sizes, strict=True)) for name, sizes in _SHAPES.items()
}
Place = tuple[int, str]  # block and kind of a sublayer
KINDS = ("attention", "mlp")
# Compressors that change how fast a layer of a given shape is -> package with their kernels.
# LLM-Pruner changes the shape itself: its checkpoints are timed.
KERNELS = dict.fromkeys(("awq_int4", "gptq_int4"), "gptqmodel")
KERNELS |= {"sparsegpt_2_4": "torch", "llm_int8": "bitsandbytes"}


@dataclass(frozen=True)
class Subject:
    """One model to time, and how it runs: a checkpoint, or a shape with random weights."""

    checkpoint: str | None = None  # a directory
    shape: str | None = None  # a name of `SHAPES`
    units: tuple[Place, ...] | None = None  # sublayers of the shape that are left (None: all)
    compressor: str | None = None  # of the shape: one of `KERNELS`
    group_size: int = 128  # of int4
    format: str = "transformers"  # one of `exporting.formats.FORMATS`
    export: str | None = None  # the GGUF file of a `gguf_*` format, the folder of a "vllm" export
    dtype: str = "bfloat16"  # of weights and products; or "float32", "float16"
    device: str = "cpu"  # or "cuda"
    threads: int = 1  # of a CPU
    mode: str = "eager"  # or "compiled": `torch.compile`, with CUDA graphs where there is a GPU
    trust_remote_code: bool = False
    facts: Mapping[str, Any] = field(default_factory=dict)  # recorded with its figures

    def __str__(self) -> str:
        name = self.checkpoint or f"shape {self.shape}"
        return f"{name} + {self.compressor}" if self.compressor else f"{name} as {self.format}"


def parameters(name: str) -> int:
    """Parameters of a shape. A tied head counts once."""
    sizes = SHAPES[name]
    width, inner = sizes["hidden_size"], sizes["intermediate_size"]
    keys = width * sizes["num_key_value_heads"] // sizes["num_attention_heads"]
    block = 2 * width * (width + keys) + 3 * width * inner + 2 * width
    tables = 1 if sizes["tie_word_embeddings"] else 2
    return sizes["num_hidden_layers"] * block + width * (tables * sizes["vocab_size"] + 1)


def kept_units(blocks: int, kept_percent: float) -> list[Place]:
    """Sublayers that are left of a model of `blocks` blocks, in the order of the data: half of the
    dropped ones are attention, both kinds are spread evenly over the blocks."""
    if (drops := drops_for(kept_percent, 2 * blocks)) is None:
        raise UserError(f"{2 * blocks} sublayers cannot keep {kept_percent:g}%; keep more")
    gone = {
        ((2 * i + 1) * blocks // (2 * count), kind)
        for kind, count in zip(KINDS, (drops // 2, drops - drops // 2), strict=True)
        for i in range(count)
    }
    return [(b, kind) for b in range(blocks) for kind in KINDS if (b, kind) not in gone]
