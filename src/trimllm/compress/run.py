"""Compress a checkpoint: check, compress, write, reload and compare, publish."""

from __future__ import annotations

import gc
import importlib
import importlib.metadata
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from trimllm.base import files, kernels
from trimllm.base.errors import UserError
from trimllm.base.precision import compute_dtype
from trimllm.base.workers import python_of
from trimllm.checkpoint import store
from trimllm.compress.job import CompressJob
from trimllm.compress.methods import (
    EXTERNAL,
    METHODS,
    CompressSettings,
    default_engine,
    missing_package,
)
from trimllm.compress.proof import (
    HeldBack,
    ScoredRow,
    fresh_loss,
    judge,
    mean_loss,
    scored_rows,
)

# What the int4 kernels of PyTorch on a CPU and those of GPUs both take.
GROUP_SIZES = (32, 64, 128)
RECORD = "compression"

Record = dict[str, Any]


def module_of(method: str) -> Any:
    """The file of a compressor: `compress(job)` and `yardstick_(model, settings)`."""
    return importlib.import_module(f"trimllm.compress.{method}")


def check(
    method: str,
    source: str | Path,
    texts: int,
    *,
    engine: str | None = None,
    settings: CompressSettings | None = None,
) -> str:
    """Everything that can be known before work starts; returns the engine.

    Args:
        texts: number of calibration texts.

    Raises:
        UserError: one line for the first obstacle.
    """
    settings = settings or CompressSettings()
    if method not in METHODS:
        raise UserError(f"no compressor {method!r} (there are: {', '.join(METHODS)})")
    entry, engine = METHODS[method], engine or default_engine(method)
    if engine not in entry.engines:
        engines = ", ".join(entry.engines)
        raise UserError(f"{method} has no engine {engine!r} (there are: {engines})")
    if package := missing_package(method, engine):
        raise UserError(
            f"{method} by {engine}: package {package} is not installed; run `make setup`"
        )
    if engine in EXTERNAL and not settings.python:
        python_of(EXTERNAL[engine], "envs")
    if settings.device.split(":")[0] not in ("cpu", "cuda"):
        raise UserError(f"no device {settings.device!r}; use cpu or cuda")
    if settings.device.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(f"{method}: device cuda, but torch sees no GPU; use device cpu")
    if method.endswith("_int4") and (lacking := kernels.four_bit_lacks(settings.device)):
        raise UserError(f"{method}: its kernels need {lacking}; install that, or leave it out")
    if entry.calibrated and texts < settings.min_texts:
        raise UserError(
            f"{method} needs at least {settings.min_texts} calibration texts and got {texts}; "
            "give the domain more training documents, or raise compress.calibration_documents"
        )
    _, config = store.check_directory(source, verify=False)
    if (Path(source) / f"{RECORD}.json").is_file() or "quantization_config" in config:
        raise UserError(
            f"{source} is compressed already; compress the checkpoint that it was made from"
        )
    if "group_size" in entry.settings:
        _check_group_size(method, config, settings.group_size)
    return engine


def _check_group_size(method: str, config: dict[str, Any], group_size: int) -> None:
    if group_size not in GROUP_SIZES:
        sizes = ", ".join(map(str, GROUP_SIZES))
        raise UserError(f"{method}: group_size {group_size} has no kernel; use one of {sizes}")
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    widths = {
        "hidden_size": hidden,
        "attention width": heads * (config.get("head_dim") or hidden // heads),
        "MLP width": config.get("intermediate_size") or config["ffn_dim"],
    }
    for name, width in widths.items():
        if width % group_size:
            fits = [size for size in GROUP_SIZES if not any(w % size for w in widths.values())]
            raise UserError(
                f"{method}: group_size {group_size} does not divide the {name} {width}; use one of "
                f"{fits or 'the other compressors'}"
            )


def compress(
    method: str,
    source: str | Path,
    texts: Sequence[str],
    held_back: Sequence[HeldBack],
    output: str | Path,
    *,
    engine: str | None = None,
    settings: CompressSettings | None = None,
    provenance: Callable[[], dict[str, Any]] | None = None,
    record: Callable[[Record], Record] = dict,
) -> Record:
    """Compress a checkpoint; the result appears whole and checked, or not at all.

    Args:
        method: one of `METHODS`.
        source: a dense checkpoint, plain or trimmed.
        texts: calibration texts.
        held_back: what the loss is compared on, none of it among `texts`: texts, or pairs of a
            prompt and an answer, of which the answer counts.
        output: where the compressed checkpoint goes.
        engine: None takes the method's default.
        provenance: called at the end for what manifest.json holds beside the hashes.
        record: makes compression.json of what is returned.

    Returns:
        Method, engine and its version, losses (nats a token: dense, compressed, yardstick), margin,
        bytes, seconds.

    Raises:
        UserError: see `check`; or the compressed checkpoint is worse than its margin allows.
    """
    settings = settings or CompressSettings()
    engine = check(method, source, len(texts), engine=engine, settings=settings)
    if not held_back:
        raise UserError(
            f"{method} needs held-back texts to check its result; give the domain more training "
            "documents"
        )
    if common := set(texts) & {"".join(one) for one in held_back}:
        raise UserError(f"{len(common)} held-back texts are calibration texts too; use others")
    entry, module = METHODS[method], module_of(method)
    seconds: dict[str, float] = {}
    longest = files.read_json(Path(source) / "config.json")["max_position_embeddings"]
    settings = replace(settings, max_tokens=min(settings.max_tokens, longest))
    with files.scratch(output) as temporary, files.scratch(output) as workspace:
        with _timed(seconds, "yardstick"):
            loss, rows = _dense_losses(module, source, held_back, settings)
        _free(settings.device)
        with _timed(seconds, "compress"):
            # On the host: engines bring a block at a time to the device.
            model, tokenizer = store.load(source, dtype="float32")
            job = CompressJob(model, tokenizer, texts, engine, settings, workspace)
            compressed = module.compress(job)
        model.to("meta")  # engines keep frames that refer to it
        store.write_tensors(source, compressed.tensors, compressed.config, temporary)
        compressed.tensors.clear()
        _free(settings.device)  # the reload, in a process of its own, needs the memory
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
            "seconds": seconds,
            "seed": settings.seed,
            "calibration_texts": len(texts),
            "held_back_texts": len(held_back),
            **compressed.facts,
        }
        origin = provenance() if provenance else None
        store.complete(temporary, output, {RECORD: record(result)}, origin)
    return result


def _free(device: str) -> None:
    """Release unreferenced memory, the device's too: another process needs it."""
    gc.collect()
    if torch.device(device).type == "cuda":
        torch.cuda.empty_cache()


@contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    """Record the seconds of a piece of work."""
    start = time.perf_counter()
    yield
    seconds[name] = round(time.perf_counter() - start, 2)


def _dense_losses(
    module: Any, source: str | Path, held_back: Sequence[HeldBack], settings: CompressSettings
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
        module.yardstick_(model, settings)
    losses["yardstick"] = mean_loss(model, rows)
    return losses, rows
