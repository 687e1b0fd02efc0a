"""Shapes of models that can be timed without a download: throughput depends on shapes only.

Light, since a workflow is planned with it.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from trimllm.base.errors import UserError

SHAPES: MappingProxyType[str, dict[str, Any]] = MappingProxyType(
    {
        # LLaMA-7B of the paper (Touvron et al. 2023, table 2)
        "llama-7b": {
            "vocab_size": 32000,
            "hidden_size": 4096,
            "intermediate_size": 11008,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "num_key_value_heads": 32,
        },
        # LLaMA's architecture and vocabulary at 1.1B parameters, as TinyLlama has them
        "llama-1b": {
            "vocab_size": 32000,
            "hidden_size": 2048,
            "intermediate_size": 5632,
            "num_hidden_layers": 22,
            "num_attention_heads": 32,
            "num_key_value_heads": 4,
        },
        "smollm2-135m": {
            "vocab_size": 49152,
            "hidden_size": 576,
            "intermediate_size": 1536,
            "num_hidden_layers": 30,
            "num_attention_heads": 9,
            "num_key_value_heads": 3,
            "tie_word_embeddings": True,
        },
        # for tests: everything runs, nothing means anything
        "llama-tiny": {
            "vocab_size": 512,
            "hidden_size": 128,
            "intermediate_size": 256,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
        },
    }
)
"""Keyword arguments of `transformers.LlamaConfig`, by the name of the shape."""

LABELS = MappingProxyType(
    {
        "llama-7b": "LLaMA-7B shape",
        "llama-1b": "LLaMA-1B shape",
        "smollm2-135m": "SmolLM2-135M shape",
        "llama-tiny": "tiny shape",
    }
)


def shape(name: str) -> dict[str, Any]:
    """Sizes of a shape; `UserError` for a name that is none."""
    if name not in SHAPES:
        raise UserError(f"shape {name!r} is unknown (there are: {', '.join(SHAPES)})")
    return dict(SHAPES[name])


def unit_parameters(sizes: dict[str, Any]) -> dict[str, int]:
    """Parameters of one attention unit and one MLP unit, each with its norm."""
    width, inner = sizes["hidden_size"], sizes["intermediate_size"]
    keys = width * sizes["num_key_value_heads"] // sizes["num_attention_heads"]
    return {"attention": 2 * width * (width + keys) + width, "mlp": 3 * width * inner + width}


def parameters(name: str) -> int:
    """Parameters of a whole shape, a tied head once."""
    sizes = shape(name)
    tables = 1 if sizes.get("tie_word_embeddings") else 2
    outside = sizes["hidden_size"] * (tables * sizes["vocab_size"] + 1)
    return sizes["num_hidden_layers"] * sum(unit_parameters(sizes).values()) + outside
