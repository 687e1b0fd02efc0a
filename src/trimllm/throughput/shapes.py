"""Shapes of models that can be timed without a download: throughput depends on shapes only."""

from __future__ import annotations

from collections.abc import Iterable
from types import MappingProxyType
from typing import Any

from trimllm.base.errors import UserError

_SIZES = (
    *("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers"),
    *("num_attention_heads", "num_key_value_heads", "tie_word_embeddings"),
)
SHAPES: MappingProxyType[str, dict[str, Any]] = MappingProxyType(
    {
        name: dict(zip(_SIZES, sizes, strict=True))
        for name, *sizes in (
            # LLaMA-7B of the paper (Touvron et al. 2023, table 2)
            ("llama-7b", 32000, 4096, 11008, 32, 32, 32, False),
            # LLaMA's architecture and vocabulary at 1.1B parameters, as TinyLlama has them
            ("llama-1b", 32000, 2048, 5632, 22, 32, 4, False),
            ("smollm2-135m", 49152, 576, 1536, 30, 9, 3, True),
            # for tests: everything runs, nothing means anything
            ("llama-tiny", 512, 128, 256, 4, 4, 2, False),
        )
    }
)
"""Keyword arguments of `transformers.LlamaConfig`, by the name of the shape."""


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


def inside_and_outside(
    name: str, units: Iterable[tuple[int, str]] | None = None
) -> tuple[int, int]:
    """Parameters of a shape's units (those named, or all), and of embeddings, head, final norm.

    A tied head counts once.
    """
    sizes = shape(name)
    each, blocks = unit_parameters(sizes), sizes["num_hidden_layers"]
    inside = blocks * sum(each.values()) if units is None else sum(each[kind] for _, kind in units)
    tables = 1 if sizes["tie_word_embeddings"] else 2
    return inside, sizes["hidden_size"] * (tables * sizes["vocab_size"] + 1)


def parameters(name: str) -> int:
    """Parameters of a whole shape."""
    return sum(inside_and_outside(name))
