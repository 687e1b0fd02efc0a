"""What stands beside a speed: words after a row's name, and what only the CSV shows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from trimllm.throughput.result import predicted
from trimllm_paper.recipe import Recipe

COPIED = (
    *("threads", "linear_kernel", "achieved_bytes_per_second", "bandwidth_ratio"),
    *("precision", "kernel"),
)
PARTS = ("units", "embeddings", "head")
DENSE, APART = "dense file", "not in turn"
WORDS = {
    DENSE: "the 2:4 zeros are stored, and no kernel of this machine skips them",
    APART: "memory did not hold both models, so they were timed one after the other; no verdict",
}
"""Words after a row's name, and what they mean."""


def recorded(timing: Any) -> dict[str, Any]:
    """What only the CSV shows of a measurement."""
    content, expected = timing.content, predicted(timing.content)
    compiled = (content.get("compiled") or {}).get("decode_tokens_per_second", {})
    return {
        "recipe": str(Recipe.parse(timing.recipe).dense),
        "compressor": timing.compressor,
        "hardware": timing.hardware,
        "layers": "+".join(content.get("layers", [])),
        **{name: content[name] for name in COPIED if name in content},
        "units_kept": timing.units_kept,
        "units_total": timing.units_total,
        **{f"{part.rstrip('s')}_bytes": content["bytes"][part] for part in PARTS},
        "compiled_tokens_per_second": compiled.get("median"),
        "predicted_decode": expected.get("predicted_speedup"),
        "predicted_prefill": expected.get("predicted_prefill_speedup"),
    }


def marks(timing: Any) -> list[str]:
    """Words that stand after the name of a row of `Frame.timings`."""
    found = [] if timing.in_turn else [APART]
    if timing.compressor == "sparsegpt_2_4" and timing.content.get("layers") == ["Linear"]:
        found.append(DENSE)
    return found


def glossary(timings: list[Any]) -> Iterator[str]:
    """What the words after the names of rows mean, as far as some row has them."""
    words = {word for timing in timings for word in marks(timing)}
    yield from (f"{word}: {meaning}" for word, meaning in WORDS.items() if word in words)
