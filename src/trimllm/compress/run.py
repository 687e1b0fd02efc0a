"""Compress a checkpoint: check, compress, write, reload and compare, publish."""

from __future__ import annotations

import importlib.metadata
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from trimllm.base import files, kernels
from trimllm.base.errors import UserError
from trimllm.base.machine import free_memory
from trimllm.base.precision import compute_dtype
from trimllm.checkpoint import store
from trimllm.compress import engines
from trimllm.compress.job import Compressed, CompressJob, change_linears_
from trimllm.compress.llm_pruner import at_random_, llm_pruner
from trimllm.compress.methods import (
    EXTERNAL,
    METHODS,
    CompressSettings,
    default_engine,
    require,
)
from trimllm.compress.proof import HeldBack, ScoredRow, fresh_loss, judge, mean_loss, scored_rows
from trimllm.compress.rounding import int4_to_nearest, int8_to_nearest, two_of_four

RECORD = "compression"
MIN_TEXTS = 8
Record = dict[str, Any]


Yardstick = Callable[[nn.Module, CompressSettings], None]


def _int4_(model: nn.Module, settings: CompressSettings) -> None:
    change_linears_(model, lambda weight: int4_to_nearest(weight, settings.group_size))


COMPRESSORS: dict[str, tuple[Callable[[CompressJob], Compressed], Yardstick]] = {
    "awq_int4": (engines.awq_int4, _int4_),
    "gptq_int4": (engines.gptq_int4, _int4_),
    "sparsegpt_2_4": (engines.sparsegpt_2_4, lambda model, _: change_linears_(model, two_of_four)),
    "llm_int8": (engines.llm_int8, lambda model, _: change_linears_(model, int8_to_nearest)),
    "llm_pruner": (llm_pruner, at_random_),
}
"""By name, what compresses, and the yardstick, which changes a model in place by the settings."""


def compress(
    method: str,
    source: str | Path,
    texts: Sequence[str],
    held_back: Sequence[HeldBack],
    output: str | Path,
    *,
    engine: str | None = None,
    settings: CompressSettings = CompressSettings(),  # noqa: B008  # it is frozen
    provenance: Callable[[], dict[str, Any]] = dict,
    record: Callable[[Record], Record] = dict,
) -> Record:
    """Compress a checkpoint; the result appears whole and checked, or not at all: `UserError` for
    what cannot be compressed so, or has become worse than its margin allows.

    Args:
        method, engine: of `METHODS`; engine None takes the default.
        source: a dense checkpoint, plain or trimmed.
        texts, held_back: to calibrate by, and what the loss is compared on.
        provenance: called at the end for what manifest.json holds beside the hashes.
        record: makes compression.json of what is returned: losses (nats a token), bytes, seconds.
    """
    config = _check(method, engine, source, texts, held_back, settings)
    entry, (compressor, yardstick_) = METHODS[method], COMPRESSORS[method]
    engine = engine or default_engine(method)
    longest = min(settings.max_tokens, config["max_position_embeddings"])
    settings, seconds = replace(settings, max_tokens=longest), dict[str, float]()
    with files.scratch(output) as temporary, files.scratch(output) as workspace:
        with _timed(seconds, "yardstick"):
            loss, rows = _dense_losses(yardstick_, source, held_back, settings)
        free_memory(settings.device)
        with _timed(seconds, "compress"):
            # On the host: engines bring a block at a time to the device.
            model, tokenizer = store.load(source, dtype="float32")
            job = CompressJob(model, tokenizer, texts, engine, settings, workspace)
            compressed = compressor(job)
        model.to("meta")  # engines keep frames that refer to it
        store.write_tensors(source, compressed.tensors, compressed.config, temporary)
        compressed.tensors.clear()
        free_memory(settings.device)  # the reload, in a process of its own, needs the memory
        with _timed(seconds, "proof"):
            loss["compressed"] = fresh_loss(temporary, rows, settings.device, settings.threads)
            judge(loss["compressed"], loss["yardstick"], entry.margin, method, entry.yardstick)
        result = {
            "method": method,
            "engine": engine,
            # An external engine's worker reports versions itself.
            "engine_version": None if engine in EXTERNAL else importlib.metadata.version(engine),
            "loss": loss,
            "yardstick": entry.yardstick,
            "margin": entry.margin,
            "group_size": settings.group_size if "group_size" in entry.settings else None,
            "bytes": store.bytes_by_part(temporary),
            "bytes_dense": store.bytes_by_part(source),
            **{"seconds": seconds, "seed": settings.seed},
            **{"calibration_texts": len(texts), "held_back_texts": len(held_back)},
            **compressed.facts,
        }
        store.complete(temporary, output, {RECORD: record(result)}, provenance())
    return result


def _check(
    method: str,
    engine: str | None,
    source: str | Path,
    texts: Sequence[str],
    held_back: Sequence[HeldBack],
    settings: CompressSettings,
) -> dict[str, Any]:
    """The config of a checkpoint. Raises `UserError` for what can be known before work starts."""
    if method not in METHODS:
        raise UserError(f"no compressor {method!r} (there are: {', '.join(METHODS)})")
    engines_ = METHODS[method].engines
    if engine not in (None, *engines_):
        raise UserError(f"{method} has no engine {engine!r} (there are: {', '.join(engines_)})")
    require(method, engine or default_engine(method))
    _, config = store.check_directory(source, verify=False)
    if (Path(source) / f"{RECORD}.json").is_file() or "quantization_config" in config:
        raise UserError(
            f"{source} is compressed already; compress the checkpoint that it was made from"
        )
    if method.endswith("_int4") and (lacking := kernels.four_bit_lacks(settings.device)):
        raise UserError(f"{method}: its kernels need {lacking}; install that, or leave it out")
    if METHODS[method].calibrated and len(texts) < MIN_TEXTS:
        raise UserError(
            f"{method} needs at least {MIN_TEXTS} calibration texts and got {len(texts)}; "
            "give the domain more training documents, or raise compress.calibration_documents"
        )
    if not held_back:
        raise UserError(
            f"{method} needs held-back texts to check its result; give the domain more training "
            "documents"
        )
    if common := set(texts) & {"".join(one) for one in held_back}:
        raise UserError(f"{len(common)} held-back texts are calibration texts too; use others")
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    widths = {
        "hidden_size": hidden,
        "attention width": heads * (config.get("head_dim") or hidden // heads),
        "MLP width": config.get("intermediate_size") or config["ffn_dim"],
    }
    for name, width in widths.items():
        if "group_size" in METHODS[method].settings and width % settings.group_size:
            raise UserError(
                f"{method}: group_size {settings.group_size} does not divide the {name} {width}; "
                "use 32, 64 or 128, whichever divides all widths, or another compressor"
            )
    return config


@contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    """Record the seconds of a piece of work."""
    start = time.perf_counter()
    yield
    seconds[name] = round(time.perf_counter() - start, 2)


def _dense_losses(
    yardstick_: Yardstick,
    source: str | Path,
    held_back: Sequence[HeldBack],
    settings: CompressSettings,
) -> tuple[dict[str, float], list[ScoredRow]]:
    """Losses of the dense model and of the yardstick, and the rows that they are measured on.

    The model is freed before the one to compress is loaded: both would not fit a GPU.
    """
    # bfloat16 moves losses by thousandths, and tenths decide.
    dtype = compute_dtype("auto", settings.device)
    model, tokenizer = store.load(source, dtype=dtype, device=settings.device)
    rows = scored_rows(tokenizer, held_back, settings.max_tokens)
    losses = {"dense": mean_loss(model, rows)}
    with torch.no_grad():
        yardstick_(model, settings)
    losses["yardstick"] = mean_loss(model, rows)
    return losses, rows
