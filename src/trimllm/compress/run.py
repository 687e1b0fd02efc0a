"""Compress a checkpoint: check, work, write, prove, publish."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trimllm.base import files
from trimllm.base.errors import UserError
from trimllm.compress.job import Compressed, CompressJob, CompressSettings

if TYPE_CHECKING:
    from trimllm.compress.calibration import HeldBack

# Method -> engine -> the packages that must be installed here; none: an environment of its own.
METHODS: dict[str, dict[str, tuple[str, ...]]] = {
    "awq_int4": {"llmcompressor": ("llmcompressor", "gptqmodel"), "autoawq": ("gptqmodel",)},
    "gptq_int4": {"gptqmodel": ("gptqmodel", "optimum"), "auto-gptq": ("gptqmodel", "optimum")},
    "sparsegpt_2_4": {"llmcompressor": ("llmcompressor",)},
    "llm_int8": {"bitsandbytes": ("bitsandbytes",)},
    "llm_pruner": {"torch-pruning": ("torch_pruning",)},
}
"""The first engine of a method is its default."""

EXTERNAL = ("autoawq", "auto-gptq")
FOUR_BIT = ("awq_int4", "gptq_int4")
UNCALIBRATED = ("llm_int8",)
# What the int4 kernels of PyTorch on a CPU and those of GPUs both take.
GROUP_SIZES = (32, 64, 128)
RECORD = "compression"


def default_engine(method: str) -> str:
    """The engine that a method uses when none is named."""
    return next(iter(METHODS[method]))


def missing_package(method: str, engine: str | None = None) -> str | None:
    """A package that an engine needs and that is not installed, or None."""
    needed = METHODS[method][engine or default_engine(method)]
    return next((name for name in needed if importlib.util.find_spec(name) is None), None)


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
    engine = engine or default_engine(method)
    if engine not in METHODS[method]:
        known = ", ".join(METHODS[method])
        raise UserError(f"{method} has no engine {engine!r} (there are: {known})")
    if package := missing_package(method, engine):
        raise UserError(
            f"{method} by {engine}: package {package} is not installed; run `make setup`"
        )
    if engine in EXTERNAL:
        from trimllm.compress.external import engine_available

        engine_available(engine, settings.python)
    _check_device(engine, settings.device)
    if method not in UNCALIBRATED and texts < settings.min_texts:
        raise UserError(
            f"{method} needs at least {settings.min_texts} calibration texts and got {texts}; "
            "give the domain more training documents, or raise compress.calibration_documents or "
            "lower compress.held_back_documents"
        )
    config = _config_of(Path(source))
    if method in FOUR_BIT:
        _check_group_size(method, config, settings.group_size)
    return engine


def _check_device(engine: str, device: str) -> None:
    if device.split(":")[0] not in ("cpu", "cuda"):
        raise UserError(f"no device {device!r}; use cpu or cuda")
    if device.startswith("cuda"):
        import torch

        if not torch.cuda.is_available():
            raise UserError(f"{engine} was asked for on a GPU and there is none; use device cpu")


def _config_of(source: Path) -> dict[str, Any]:
    if not (source / "config.json").is_file():
        raise UserError(f"{source} is no checkpoint: it has no config.json")
    config = files.read_json(source / "config.json")
    if (source / f"{RECORD}.json").is_file() or "quantization_config" in config:
        raise UserError(
            f"{source} is compressed already; compress the checkpoint that it was made from"
        )
    return config


def _check_group_size(method: str, config: dict[str, Any], group_size: int) -> None:
    if group_size not in GROUP_SIZES:
        sizes = ", ".join(map(str, GROUP_SIZES))
        raise UserError(f"{method}: group_size {group_size} has no kernel; use one of {sizes}")
    heads = config["num_attention_heads"]
    head_dim = config.get("head_dim") or config["hidden_size"] // heads
    widths = {
        "hidden_size": config["hidden_size"],
        "attention width": heads * head_dim,
        "MLP width": config.get("intermediate_size") or config.get("ffn_dim"),
    }
    for name, width in widths.items():
        if width and width % group_size:
            fits = [size for size in GROUP_SIZES if not any(w % size for w in widths.values() if w)]
            offer = f"use {', '.join(map(str, fits))}" if fits else "no group size fits this model"
            raise UserError(
                f"{method}: group_size {group_size} does not divide the {name} {width}; {offer}"
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
) -> dict[str, Any]:
    """Compress a checkpoint; the result is whole and proven under its name, or not there.

    Args:
        method: "awq_int4", "gptq_int4", "sparsegpt_2_4", "llm_int8" or "llm_pruner".
        source: a dense checkpoint, plain or trimmed.
        texts: what the method is calibrated on.
        held_back: what the loss is compared on, none of it among `texts`: texts, or pairs of a
            prompt and an answer, of which the answer counts.
        output: where the compressed checkpoint goes.
        engine: the tool; None takes the method's default.
        provenance: asked at the end for what goes into manifest.json beside the hashes.

    Returns:
        The record that lies beside the weights as compression.json: method, engine and its
        version, losses (nats a token: dense, compressed, yardstick), margin, bytes, seconds.

    Raises:
        UserError: see `check`; or a checkpoint that does not prove itself.
    """
    from trimllm.checkpoint import store

    settings = settings or CompressSettings()
    engine = check(method, source, len(texts), engine=engine, settings=settings)
    if not held_back:
        raise UserError(
            f"{method} has no held-back texts to prove itself on; give the domain more training "
            "documents"
        )
    if common := set(texts) & {"".join(one) for one in held_back}:
        raise UserError(f"{len(common)} held-back texts are calibration texts too; take others")
    seconds: dict[str, float] = {}
    temporary = files.new_sibling(output)
    workspace = files.new_sibling(output)
    try:
        longest = _config_of(Path(source))["max_position_embeddings"]
        settings = replace(settings, max_tokens=min(settings.max_tokens, longest))
        losses, rows = _dense_losses(method, source, held_back, settings, seconds)
        with _timed(seconds, "compress"):
            model, tokenizer = store.load(source, dtype="float32", device=settings.device)
            module = importlib.import_module(f"trimllm.compress.{method}")
            job = CompressJob(model, tokenizer, list(texts), engine, settings, workspace)
            made: Compressed = module.compress(job)
        store.write_tensors(source, made.tensors, made.config, temporary)
        with _timed(seconds, "proof"):
            losses["compressed"] = _proven(
                method, temporary, rows, losses["yardstick"], workspace, settings
            )
        record = _record(method, engine, source, temporary, made, losses, seconds, settings)
        record |= {"calibration_texts": len(texts), "held_back_texts": len(held_back)}
        record = files.sealed(record)
        files.write_json(temporary / f"{RECORD}.json", record)
        files.write_manifest(temporary, provenance() if provenance else None)
        temporary.chmod(0o755)
        files.publish(temporary, output)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(workspace, ignore_errors=True)
    return record


class _timed:
    """Adds the seconds of a piece of work to a record."""

    def __init__(self, seconds: dict[str, float], name: str) -> None:
        self.seconds, self.name = seconds, name

    def __enter__(self) -> None:
        self.start = time.perf_counter()

    def __exit__(self, *error: object) -> None:
        self.seconds[self.name] = round(time.perf_counter() - self.start, 2)


def _dense_losses(
    method: str,
    source: str | Path,
    held_back: Sequence[HeldBack],
    settings: CompressSettings,
    seconds: dict[str, float],
) -> tuple[dict[str, float], list[tuple[list[int], int]]]:
    """Losses of the dense model and of the yardstick, and the rows that they are taken on.

    The model is loaded for itself, and is gone before the one that is compressed comes: two at a
    time would not fit a GPU that holds one.
    """
    from trimllm.base.precision import compute_dtype, round_weights_
    from trimllm.checkpoint import store
    from trimllm.compress.calibration import mean_loss, scored_rows
    from trimllm.compress.yardstick import make_yardstick_

    with _timed(seconds, "yardstick"):
        model, tokenizer = store.load(source, dtype="float32", device=settings.device)
        rows = scored_rows(tokenizer, held_back, settings.max_tokens)
        # Losses are told apart by tenths; bfloat16 moves them by thousandths.
        round_weights_(model, compute_dtype("auto", settings.device))
        losses = {"dense": mean_loss(model, rows)}
        make_yardstick_(method, model, settings)
        losses["yardstick"] = mean_loss(model, rows)
    return losses, rows


def _proven(
    method: str,
    checkpoint: Path,
    rows: list[tuple[list[int], int]],
    yardstick: float,
    workspace: Path,
    settings: CompressSettings,
) -> float:
    from trimllm.compress.proof import fresh_loss, judge
    from trimllm.compress.yardstick import MARGINS, NAMES

    loss = fresh_loss(checkpoint, rows, workspace, settings.device, settings.threads)
    judge(loss, yardstick, MARGINS[method], method, NAMES[method])
    return loss


def _record(
    method: str,
    engine: str,
    source: str | Path,
    written: Path,
    made: Compressed,
    losses: dict[str, float],
    seconds: dict[str, float],
    settings: CompressSettings,
) -> dict[str, Any]:
    from trimllm.checkpoint.store import bytes_by_part
    from trimllm.compress.yardstick import MARGINS, NAMES

    return {
        "method": method,
        "engine": engine,
        "engine_version": None if engine in EXTERNAL else importlib.metadata.version(engine),
        "loss": losses,
        "yardstick": NAMES[method],
        "margin": MARGINS[method],
        "group_size": settings.group_size if method in FOUR_BIT else None,
        "bytes": bytes_by_part(written),
        "bytes_dense": bytes_by_part(source),
        "seconds": seconds,
        "seed": settings.seed,
        **made.facts,
    }
