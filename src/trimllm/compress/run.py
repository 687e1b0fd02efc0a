"""Compress a checkpoint: check, compress, write, reload and compare, publish.

In a fresh process the result must know its language, by its loss on answers to held-back prompts
and the method's yardstick. Whole texts would not do: half trimmed on MedMCQA, the default's model
has a loss of 0.00 on answers and of 27 nats a token on whole texts, where a broken checkpoint would
not stand out.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from trimllm.base import files
from trimllm.base.errors import UserError
from trimllm.base.kernels import method_of
from trimllm.base.machine import free_memory
from trimllm.base.precision import compute_dtype
from trimllm.base.workers import environment, run_worker
from trimllm.checkpoint import store
from trimllm.compress import engines
from trimllm.compress.engines import Compressed, CompressJob, external, linear_names
from trimllm.compress.llm_pruner import cut, llm_pruner
from trimllm.compress.methods import EXTERNAL, METHODS, CompressSettings, require
from trimllm.compress.rounding import int4_to_nearest, int8_to_nearest, two_of_four
from trimllm.score.encode import encode_pair
from trimllm.sublayers import device_of

HeldBack = str | tuple[str, str]  # a text, or a prompt and the answer to it
ScoredRow = tuple[list[int], int]  # token ids, and the place of the first one that is scored
Record = dict[str, Any]
COMPRESSORS: dict[str, Callable[[CompressJob], Compressed]] = {
    "awq_int4": engines.awq_int4,
    "gptq_int4": engines.gptq_int4,
    "sparsegpt_2_4": engines.sparsegpt_2_4,
    "llm_int8": engines.llm_int8,
    "llm_pruner": llm_pruner,
}


def scored_rows(tokenizer: Any, held_back: Sequence[HeldBack], max_tokens: int) -> list[ScoredRow]:
    """Held-back texts as rows of tokens, cut from the left to `max_tokens`. Of a pair the answer is
    scored, of a text all tokens but the first. `UserError` where nothing can be scored."""
    rows: list[ScoredRow] = []
    for one in held_back:
        if isinstance(one, str):
            prompt, rest = list[int](), tokenizer(one).input_ids
        else:
            prompt, rest = encode_pair(tokenizer, *one)
        cut = max(0, len(prompt) + len(rest) - max_tokens)
        ids, first = [*prompt, *rest][cut:], max(1, len(prompt) - cut)
        if first < len(ids):
            rows.append((ids, first))
    if not rows:
        raise UserError("the held-back texts hold no two tokens in a row; give longer texts")
    return rows


@torch.no_grad()
def mean_loss(model: nn.Module, rows: Sequence[ScoredRow]) -> float:
    """Mean cross-entropy of the scored tokens, in nats a token, by the model's own forward pass."""
    total, tokens = 0.0, 0
    for ids, first in rows:
        row = torch.tensor([ids], device=device_of(model))
        answer = row[0, first:]
        logits = model(row, logits_to_keep=len(answer) + 1, use_cache=False).logits[0, :-1]
        total += F.cross_entropy(logits.float(), answer, reduction="sum").item()
        tokens += len(answer)
    return total / tokens


class Worker:
    """The process that reloads a compressed checkpoint; `facts` is its loss."""

    def __init__(self, checkpoint: str, rows: Sequence[ScoredRow], device: str) -> None:
        # Packed weights come with kernels that have a type of their own.
        packed = method_of(files.read_json(Path(checkpoint) / "config.json"))
        dtype = "float32" if packed else compute_dtype("auto", device)
        model, _ = store.load(checkpoint, dtype=dtype, device=device, verify=False)
        self.facts = mean_loss(model, rows)


def judge(loss: float, yardstick: float, margin: float, what: str, name: str) -> None:
    """Raise `UserError` unless `loss` is at most `yardstick` + `margin`, all in nats a token."""
    if not loss <= yardstick + margin:  # also for a loss that is no number
        raise UserError(
            f"{what}: loss {loss:.3f} on held-back texts is worse than {name}'s {yardstick:.3f} "
            f"by more than {margin:g}: the result is broken and was not kept; give more "
            "calibration texts, or another engine"
        )


@torch.no_grad()
def yardstick_(model: nn.Module, method: str, settings: CompressSettings) -> None:
    """Bring a model to a method's size in the plainest way (`Method.yardstick`), in place."""
    if method == "llm_pruner":
        chance = torch.Generator().manual_seed(settings.seed)
        cut(model, settings.kept, lambda _, count: torch.rand(count, generator=chance))
        return
    rounded = {"sparsegpt_2_4": two_of_four, "llm_int8": int8_to_nearest}.get(
        method, partial(int4_to_nearest, group_size=settings.group_size)
    )
    for name in linear_names(model)[0]:
        weight = model.get_submodule(name).weight
        weight.copy_(rounded(weight.float()))


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

    Raises `UserError`: the checkpoint cannot be compressed, or the result is broken.
    """
    start, engine, device = time.perf_counter(), require(method, engine), settings.device
    entry, (_, config) = METHODS[method], store.check_directory(source, verify=False)
    if Path(source, "compression.json").is_file() or "quantization_config" in config:
        raise UserError(
            f"{source} is compressed already; compress the checkpoint that it was made from"
        )
    if Path(output).resolve() == Path(source).resolve():
        raise UserError(f"{output} is the checkpoint itself; choose another name")
    if common := set(texts) & {"".join(one) for one in held_back}:
        raise UserError(f"{len(common)} held-back texts are calibration texts too; use others")
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
        compressed = (external if engine in EXTERNAL else COMPRESSORS[method])(job)
        model.to("meta")  # engines keep frames that refer to it
        store.write_tensors(source, compressed.tensors, compressed.config, temporary)
        compressed.tensors.clear()
        free_memory(device)  # the reload, in a process of its own, needs the memory
        reload = {"checkpoint": str(temporary), "rows": rows, "device": device}
        variables = environment(settings.threads)
        loss["compressed"] = run_worker(__file__, reload, name="reload", variables=variables)
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
        store.complete(temporary, output, {"compression": record(result)}, provenance())
    return result
