"""What stands beside a speed: the kernels behind it, whether it ran in turn, how near the limit.

A row of throughput is comparable where it was timed in turn with the full model, each by its own
best kernel. Decoding is bound by the bytes that a plain copy moves a second, a prompt by the
operations of a large product; what stays below `LIMIT` of either is explained here, or suspect.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from trimllm.throughput.result import predicted
from trimllm_paper.recipe import Recipe

COPIED = ("threads", "linear_kernel", "achieved_bytes_per_second", "bandwidth_ratio")
PARTS = ("units", "embeddings", "head")
"""What else the CSV holds of a measurement of throughput, and parts of the weights."""
KERNELS = {"onednn": "oneDNN", "native": "native"}
"""How tables call the kernels of 16-bit products on a CPU."""
PLAIN, DENSE, APART = "Linear", "dense file", "not in turn"
LIMIT = 100 / 3
"""Percent of copy bandwidth or matrix rate below which a row needs a reason."""
NEAR = 0.1
"""By how much a speedup may differ from what the linear layers alone, timed beside it, and the rest
of as many units give."""
BETWEEN = "the linear layers alone reach a third; the rest of a token's time lies between them"
INT8 = "each product also rounds its input and looks for outliers, one operation after the other"
INT4 = "torch's int4 product widens the weights anew for every few rows and computes in float32"
REASONS = {
    ("decode", "cpu"): {"llm_int8": INT8},
    ("prefill", "cpu"): {"llm_int8": INT8, "gptq_int4": INT4, "awq_int4": INT4},
}
"""Why what a compressor makes may stay far from the limit, by part and device."""
SUSPECT = "suspect, no reason is known"
BORROWED = "suspect, timed with the linear kernel that suits the full model"
WORDS = {
    DENSE: "the 2:4 zeros are stored, and no kernel of this machine skips them; neither speed nor "
    "bytes can be gained",
    APART: "memory did not hold both models, so that the row and its full model were timed one "
    "after the other; no verdict",
}
"""What the words after a row's name mean."""


def recorded(timing: Any) -> dict[str, Any]:
    """What only the CSV shows of a measurement."""
    content, expected = timing.content, predicted(timing.content)
    compiled = (content.get("compiled") or {}).get("decode_tokens_per_second", {})
    return {
        "recipe": str(Recipe.parse(timing.recipe).dense),
        "compressor": timing.compressor,
        "hardware": timing.hardware,
        "layers": "+".join(content.get("layers", [])),
        **{name: content.get(name) for name in COPIED},
        "full_linear_kernel": content.get("baseline", {}).get("linear_kernel"),
        "products_share": content.get("products_share", {}).get("median"),
        "layers_alone": expected.get("predicted_by_layers"),
        **{name: content[name] for name in ("precision", "kernel") if name in content},
        "units_kept": timing.units_kept,
        "units_total": timing.units_total,
        **{f"{part.rstrip('s')}_bytes": content["bytes"][part] for part in PARTS},
        "compiled_tokens_per_second": compiled.get("median"),
        "predicted_decode": expected.get("predicted_speedup"),
        "predicted_prefill": expected.get("predicted_prefill_speedup"),
    }


def marks(timing: Any, *, kernels: bool) -> list[str]:
    """Words that stand after the name of a row of `Frame.timings`; `kernels`: with those, too."""
    found = [] if timing.in_turn else [APART]
    if timing.compressor == "sparsegpt_2_4" and timing.content.get("layers") == [PLAIN]:
        found.append(DENSE)
    return [*found, *(_kernels(timing.content) if kernels else ())]


def _kernels(content: Mapping[str, Any]) -> list[str]:
    """Kinds of the linear layers where they are no plain ones, and the kernel of 16-bit products
    where there are several."""
    found = [kind for kind in content.get("layers", ()) if kind != PLAIN]
    if content.get("device") == "cpu" and content["dtype"] != "float32":
        found += [KERNELS[name] for name in [content.get("linear_kernel")] if name]
    return found


def notes(label: str, timings: Mapping[str, Any]) -> Iterator[str]:
    """Lines on a block's measurements, which are told by the names of their rows."""
    parts = {"decode": ("share_of_copy", "copy bandwidth")}
    parts["prefill"] = ("share_of_matrix", "matrix rate")
    for part, (figure, limit) in parts.items():
        told: dict[str, list[str]] = {}
        for row, timing in timings.items():
            share = getattr(timing, figure)
            if share is not None and share < LIMIT:
                told.setdefault(_reason(part, timing), []).append(f"{row} {share:.0f}%")
        if told:
            each = "; ".join(f"{', '.join(rows)} ({reason})" for reason, rows in told.items())
            yield f"{label}: {part} below a third of the {limit}: {each}"
    alone = {row: t for row, t in timings.items() if t.layers_alone is not None}
    if alone:
        each = ", ".join(f"{r} {t.speedup:.2f}× / {t.layers_alone:.2f}×" for r, t in alone.items())
        yield f"{label}: over full / by the linear layers alone, timed in the same rounds: {each}"
    if far := [r for r, t in alone.items() if abs(t.speedup / t.layers_alone - 1) > NEAR]:
        yield f"{label}: more than {NEAR:.0%} from what the layers alone give: {', '.join(far)}"
    if others := [row for row, timing in timings.items() if _of_another(timing.content)]:
        yield (
            f"{label}: measured with the linear kernel that suits the full model, not the row "
            f"(by an earlier version), and perhaps slower than need be: {', '.join(others)}"
        )


def _reason(part: str, timing: Any) -> str:
    """Why a row is far from its limit, if that is known."""
    if part == "decode" and _of_another(timing.content):
        return BORROWED
    inside = timing.content.get("products_share")
    if part == "decode" and inside and timing.share_of_copy / inside["median"] >= LIMIT:
        return BETWEEN
    known = REASONS.get((part, str(timing.content.get("device"))), {})
    return known.get(timing.compressor, SUSPECT)


def _of_another(content: Mapping[str, Any]) -> bool:
    """Whether the full model chose the kernel for both, as it did once."""
    full = content.get("baseline")
    return bool(full and _kernels(content) and "linear_kernel_seconds" not in full)


def glossary(timings: list[Any], *, kernels: bool) -> Iterator[str]:
    """What the words after the names of rows mean, as far as some row has them."""
    words = {word for timing in timings for word in marks(timing, kernels=kernels)}
    if words & {*KERNELS.values()}:
        yield (
            "After a name: the kind of the linear layers, and the kernel of 16-bit products, "
            "torch's own (native) or oneDNN's: the faster in the row's own decoding, but where told"
        )
    yield from (f"{word}: {told}" for word, told in WORDS.items() if word in words)
