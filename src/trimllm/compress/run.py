"""Compress a checkpoint: check, compress, write, reload and compare, publish."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import nn

from trimllm.base import files
from trimllm.base.errors import UserError
from trimllm.base.machine import free_memory
from trimllm.base.precision import compute_dtype
from trimllm.checkpoint import store
from trimllm.compress import engines
from trimllm.compress.engines import Compressed, CompressJob, linear_names
from trimllm.compress.llm_pruner import at_random_, llm_pruner
from trimllm.compress.methods import METHODS, CompressSettings, require
from trimllm.compress.proof import HeldBack, fresh_loss, judge, mean_loss, scored_rows
from trimllm.compress.rounding import int4_to_nearest, int8_to_nearest, two_of_four

RECORD = "compression"
Record = dict[str, Any]
COMPRESSORS: dict[str, Callable[[CompressJob], Compressed]] = {
    "awq_int4": engines.awq_int4,
    "gptq_int4": engines.gptq_int4,
    "sparsegpt_2_4": engines.sparsegpt_2_4,
    "llm_int8": engines.llm_int8,
    "llm_pruner": llm_pruner,
}


@torch.no_grad()
def yardstick_(model: nn.Module, method: str, settings: CompressSettings) -> None:
    """Bring a model to a method's size in the plainest way (`Method.yardstick`), in place."""
    if method == "llm_pruner":
        at_random_(model, settings)
        return
    for name in linear_names(model)[0]:
        weight = model.get_submodule(name).weight
        if method == "sparsegpt_2_4":
            weight.copy_(two_of_four(weight.float()))
        elif method == "llm_int8":
            weight.copy_(int8_to_nearest(weight.float()))
        else:
            weight.copy_(int4_to_nearest(weight, settings.group_size))


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
    """Compress a dense checkpoint, plain or trimmed; its loss is checked before it is saved.

    Args:
        method, engine: of `METHODS`; engine None takes the default.
        texts, held_back: to calibrate by, and what the loss is compared on.
        provenance: called at the end for what manifest.json holds beside the hashes.
        record: makes compression.json of what is returned: losses (nats a token), bytes, seconds.

    Raises:
        UserError: the checkpoint cannot be compressed, or the result is broken.
    """
    start, engine, device = time.perf_counter(), require(method, engine), settings.device
    config, entry = _check(source, texts, held_back), METHODS[method]
    longest = min(settings.max_tokens, config["max_position_embeddings"])
    settings = replace(settings, max_tokens=longest)
    with files.scratch(output) as temporary, files.scratch(output) as workspace:
        # bfloat16 moves losses by thousandths, and tenths decide.
        dtype = compute_dtype("auto", device)
        model, tokenizer = store.load(source, dtype=dtype, device=device)
        rows = scored_rows(tokenizer, held_back, longest)
        loss = {"dense": mean_loss(model, rows)}
        yardstick_(model, method, settings)
        loss["yardstick"] = mean_loss(model, rows)
        del model  # a GPU holds one model only
        free_memory(device)
        # On the host: engines bring a block at a time to the device.
        model, tokenizer = store.load(source, dtype="float32")
        job = CompressJob(model, tokenizer, texts, engine, settings, workspace)
        compressed = COMPRESSORS[method](job)
        model.to("meta")  # engines keep frames that refer to it
        store.write_tensors(source, compressed.tensors, compressed.config, temporary)
        compressed.tensors.clear()
        free_memory(device)  # the reload, in a process of its own, needs the memory
        loss["compressed"] = fresh_loss(temporary, rows, device, settings.threads)
        judge(loss["compressed"], loss["yardstick"], entry.margin, method, entry.yardstick)
        result = {
            "method": method,
            "engine": engine,
            "engine_version": compressed.engine_version or version(engine),
            **{"loss": loss, "yardstick": entry.yardstick, "margin": entry.margin},
            "settings": {name: getattr(settings, name) for name in entry.settings},
            **{"seed": settings.seed, "seconds": round(time.perf_counter() - start, 2)},
            "bytes": store.bytes_by_part(temporary),
            "bytes_dense": store.bytes_by_part(source),
            **{"calibration_texts": len(texts), "held_back_texts": len(held_back)},
            **compressed.facts,
        }
        store.complete(temporary, output, {RECORD: record(result)}, provenance())
    return result


def _check(
    source: str | Path, texts: Sequence[str], held_back: Sequence[HeldBack]
) -> dict[str, Any]:
    """The config of a checkpoint that can be compressed with these texts."""
    _, config = store.check_directory(source, verify=False)
    if (Path(source) / f"{RECORD}.json").is_file() or "quantization_config" in config:
        raise UserError(
            f"{source} is compressed already; compress the checkpoint that it was made from"
        )
    if common := set(texts) & {"".join(one) for one in held_back}:
        raise UserError(f"{len(common)} held-back texts are calibration texts too; use others")
    return config
