"""How much memory a job takes, and how many processes share it, from the size of its model.

Rules reserve by it and refuse by it (`resources`), `make plan` says it: on the safe side. How long
a job takes is in `duration`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

from trimllm.base.names import TOKENS_AT_ONCE
from trimllm.base.together import together
from trimllm.throughput.machine import fast_dtype
from trimllm_paper import gpus
from trimllm_paper.gpus import uses_gpu
from trimllm_paper.recipe import by_every_token, taught

MIB, GIB = 1 << 20, 1 << 30
TRAINING = ("full_ft", "sparse_ft", "trim", "settle")
"""Tasks that several processes share."""
COUNTS = (1, 2, 4, 8)
"""Processes that may share one (`sharing`)."""
TASKS = (*TRAINING, "fetch", "scan", "teach", "compress", "evaluate", "measure")
"""What jobs do with a model."""

# Memory. Bytes a parameter: float32 weights; gradients; these and AdamW's two moments, by optimizer
# (in 8 bits with a float32 scale for each 256).
WEIGHT, GRADIENT, STATE = 4, 4, {"adamw": 12, "adamw_8bit": 6 + 2 * 4 / 256}
# Python with torch, transformers and lm-eval, and the activations of a small batch; a process that
# times a model, without these; one that scans or evaluates on a CPU, of which none that is kept
# took more than 1,200 with its model. A GPU's context, libraries, what the allocator cannot use.
BASE_MIB, TIMED_MIB, FORWARD_MIB, OVERHEAD = 1600, 700, 1100, 2 * GIB
# Tokens that a model may know, where only its size is given: between LLaMA's and SmolLM's.
VOCABULARY = 50_000
# Bytes that training keeps of a block for each token, in multiples of the width: a float32 residual
# stream and norms, bfloat16 inputs of matrix products, 2.7 times as wide in the MLP; the same where
# all is float32; and what a scan holds for each token of its row budget.
KEPT_FOR_BACKWARD, KEPT_IN_FLOAT32, SCAN_BUFFERS = 80, 120, 40
# Float32 numbers a token of the vocabulary: logits of a model and its teacher, their logarithms and
# gradients (2.1 and 3.7 were measured without and with a teacher, of what KEPT_IN_FLOAT32 leaves).
LOGITS = 6
# The residual stream alone, in float32.
STREAM = 4
# Calibration texts of one backward pass of LLM-Pruner.
TEXTS_AT_ONCE = 8
# Tokens that a scan in 16 bits holds unless told otherwise; of the longest document of a batch.
ROW_BUDGET, LONGEST = 32768, 512
# Tokens of a document, and training documents, where nobody has said.
TOKENS, TRAIN = 200, 10_000
# GPUs' memory that a plan fills at most: what the allocator cannot use differs from run to run.
FILLED = 0.95


@dataclass(frozen=True)
class Memory:
    """MiB of the host's memory, and bytes on each GPU by what they hold (empty without GPUs)."""

    host_mib: int
    gpu: Mapping[str, float]

    @property
    def gpu_gib(self) -> float:
        """GiB on each GPU."""
        return sum(self.gpu.values()) / GIB


class Shared(NamedTuple):
    """How a training is shared."""

    count: int = 1  # type: ignore[assignment]  # (a tuple has a method of this name)
    """Processes."""
    batches: int = 1
    """Of an optimizer step that they run as one, to gather weights once for all of them."""
    again: bool = False
    """Whether blocks are computed again in the backward pass, so that less of them is kept."""


def shared(task: str, model: Any, config: Any, ratio: float | None = None) -> Shared:
    """How a training is shared among GPUs that hold it, where the configuration does not tell: by
    one, where one does; else so that it takes the fewest GPU-hours, or a tenth more by more GPUs.
    More hold more batches at once, for which weights are gathered once, and so they do where
    blocks are computed again; that takes a third more operations.
    """
    if task not in TRAINING:
        return Shared()
    again, told = config.compute.gradient_checkpointing, _told_processes(task, config)
    if not uses_gpu(config):
        return Shared(told or 1, 1, bool(again))
    all_ways = (False, True) if again is None else (again,)
    most = config.finetune.batch_size  # each process needs a row
    counts = [told] if told else [n for n in sharing(task, config) if n <= most]
    ways: list[Shared] = []
    for one, way in itertools.product(counts, all_ways):
        if merged := _merged(task, model, config, ratio, Shared(one, 1, way)):
            if merged == Shared(1, 1, all_ways[0]):
                return merged
            ways.append(merged)
    if not ways:
        return Shared(counts[-1], 1, all_ways[-1])
    hours = {way: _gpu_seconds(task, model, config, ratio, way) for way in ways}
    few = [way for way in ways if hours[way] <= 1.1 * min(hours.values())]
    return min(few, key=lambda way: (-way.count, hours[way]))


def _told_processes(task: str, config: Any) -> int | None:
    """Processes that the configuration tells."""
    told = config.compute.processes
    return told.get("trim" if task == "settle" else task) if isinstance(told, dict) else told


def _merged(task: str, model: Any, config: Any, ratio: float | None, way: Shared) -> Shared | None:
    """A way with as many batches as the GPUs hold; None where they do not hold one. (One process
    has nothing to gather.)"""
    steps, most = config.finetune.gradient_accumulation, FILLED * gpus.kind_of(config)[1].gib
    for batches in range(steps if way.count > 1 else 1, 0, -1):
        merged = way._replace(batches=batches)
        if steps % batches == 0 and memory(task, model, config, ratio, merged).gpu_gib <= most:
            return merged
    return None


def _gpu_seconds(task: str, model: Any, config: Any, ratio: float | None, way: Shared) -> float:
    """What an optimizer step takes of all GPUs: operations, and waiting for weights."""
    (_, kind), steps = gpus.kind_of(config), config.finetune.gradient_accumulation
    # Of a parameter and token, each a product and a sum: forward, back through activations, for
    # what is trained, and what is computed again.
    operations = 2 * (2 + share_trained(task, config, ratio) + way.again) * model.parameters
    computing = steps * config.finetune.batch_size * TOKENS * operations / kind.rate
    each = passed(task, model, config, ratio, way.count) / kind.link
    waiting = way.count * each * steps / way.batches
    return computing / gpus.COMPUTE_REACHED + waiting / gpus.LINK_REACHED


def passed(task: str, model: Any, config: Any, ratio: float | None, count: int) -> float:
    """Bytes that each of several GPUs is sent in a pass: 16-bit weights forward and backward, and
    float32 gradients of what it holds."""
    each_way = 2 * 2 + 4 * share_trained(task, config, ratio)
    return each_way * model.parameters * (count - 1) / count


def sharing(task: str, config: Any) -> tuple[int, ...]:
    """Numbers of processes that a task may be shared by."""
    alone = config.finetune.optimizer == "adamw_8bit" or by_lora(task, config)
    return COUNTS[:1] if alone or task not in TRAINING else COUNTS


def shape(model: Any) -> tuple[float, float, float]:
    """Width of a model's residual stream, parameters of a block, and those outside of the blocks,
    from its size: 12 width² weights a block, as in LLaMA, and two matrices of a vocabulary."""
    blocks, tables = 12 * model.blocks, 2 * VOCABULARY
    width = (math.sqrt(tables**2 + 4 * blocks * model.parameters) - tables) / 2 / blocks
    return width, 12 * width**2, tables * width


def left(model: Any, kept: float) -> float:
    """Parameters of a model with a share of its units left; what is outside the blocks stays."""
    *_, outside = shape(model)
    return outside + kept * (model.parameters - outside)


def stored_bytes(model: Any, kept: float = 1.0) -> float:
    """Bytes of the stored weights of a model that has a share of its units left."""
    return left(model, kept) * (4 if model.storage_dtype == "float32" else 2)


@cache
def cores_take_16_bits(dtype: str) -> bool:
    """Whether a job of the configuration's `dtype` runs in bfloat16 on this machine's cores."""
    return dtype != "float32" and fast_dtype("cpu") == "bfloat16"


def by_lora(task: str, config: Any) -> bool:
    """Whether a task trains adapters beside frozen weights."""
    return task == "full_ft" and config.finetune.lora is not None


def adapters(model: Any, config: Any) -> float:
    """Parameters of LoRA's adapters: rank times rows and columns of every matrix of a block, as in
    LLaMA four of attention (width by width) and three of an MLP of 8/3 width."""
    width, _, _ = shape(model)
    return config.finetune.lora.rank * model.blocks * (4 * 2 + 3 * (1 + 8 / 3)) * width


def share_trained(task: str, config: Any, ratio: float | None) -> float:
    """Share of the blocks whose own weights a task trains."""
    if task == "full_ft":
        return 0.0 if by_lora(task, config) else 1.0
    return ratio or config.main.ratio


def _state(config: Any) -> float:
    """Bytes of a trained parameter beside its weight."""
    return STATE[config.finetune.optimizer]


def memory(
    task: str,
    model: Any,
    config: Any,
    ratio: float | None = None,
    way: Shared | None = None,
) -> Memory:
    """Memory of a job on a model.

    Args:
        task: one of `TASKS`.
        model: one of the configuration's models.
        ratio: sparse update ratio; None takes the main chain's.
        way: how a training is shared; None takes that of `shared`.
    """
    if task == "measure":  # a process each for the timed and the full one, with 16-bit weights
        return Memory(2 * (TIMED_MIB + math.ceil(1.2 * 2 * model.parameters / MIB)), {})
    share = share_trained(task, config, ratio)
    way = way or shared(task, model, config, ratio)
    phases: list[dict[str, float]] = []
    if task == "compress":
        phases += _compression_bytes(model, config)
    if task in ("trim", "scan", "evaluate", "teach"):
        phases.append(_forward_bytes(task, model, config, way.count))
    if task in TRAINING:
        added = adapters(model, config) if by_lora(task, config) else 0.0
        phases += _training_bytes(task, model, config, share, way, added)
    most = max(phases, key=lambda parts: sum(parts.values()), default={})
    on_gpu = {**most, "overhead": OVERHEAD} if most and uses_gpu(config) else {}
    return Memory(_host_mib(task, model, config, share, way.count), on_gpu)


def _host_mib(task: str, model: Any, config: Any, share: float, count: int) -> int:
    """MiB in the host's memory.

    Loading holds the stored file beside the float32 weights; compressing holds these three times
    (the model, what an engine works on, the yardstick) beside those that a second process loads.
    """
    parameters, compute, gpu = model.parameters, config.compute, uses_gpu(config)
    (_, block, outside), state = shape(model), share * _state(config) * parameters
    place = compute.weights_on
    streamed = ("scan", "evaluate", *(("teach", *TRAINING) if gpu and count == 1 else ()))
    if task == "compress":
        need = 4.0 * WEIGHT * parameters
    elif place != "device" and task in streamed:
        need = WEIGHT * (outside + block + (parameters if place == "host" else 0))
        # What is trained, of the best pass; adapters are small.
        need += WEIGHT * share * parameters if task in TRAINING else 0
    elif count == 1:
        trained = state + _kept_on_cpu(model, config) if task in TRAINING and not gpu else 0.0
        need = WEIGHT * parameters + max(stored_bytes(model), trained)
        if task == "evaluate" and not gpu:
            need += WEIGHT * _generated_on(model, config)
    else:  # what the first writes, shares that are on no GPU, layers gathered in each process
        need = stored_bytes(model) + count * WEIGHT * (outside + 2 * block)
        need += WEIGHT * parameters + state if compute.offload or not gpu else 0
        scanned = task == "trim" and (place == "host" or (place == "device" and not gpu))
        need += count * WEIGHT * parameters if scanned else 0
        need += count * _kept_on_cpu(model, config, count) if not gpu else 0
    need += said(model, config) if task == "teach" else 0
    forward = task in ("scan", "evaluate") and not gpu
    return count * (FORWARD_MIB if forward else BASE_MIB) + math.ceil(need / MIB)


def said(model: Any, config: Any) -> float:
    """Bytes of what a teacher says, of the largest domain: states of all tokens, where some recipe
    wants them. (Chains map them from their file.)"""
    if not by_every_token(config):
        return 0.0
    limit = taught(config, model.units) or math.inf
    known = (config.tested[name].expected for name in config.domains)
    tokens = (min(limit, one.train or TRAIN) * trained_tokens(one) for one in known)
    in_16 = uses_gpu(config) or cores_take_16_bits(config.compute.dtype)
    return max(tokens, default=0) * shape(model)[0] * (2 if in_16 else WEIGHT)


def longest(config: Any) -> int:
    """Tokens of the longest documents that are expected, each with its right answer."""
    known = (config.tested[name].expected for name in config.domains)
    return 3 * max(map(trained_tokens, known), default=TOKENS)


def trained_tokens(expected: Any) -> int:
    """Tokens that training sees of a document."""
    told = getattr(expected, "trained", None) or getattr(expected, "tokens", None)
    return told or TOKENS


def _kept_on_cpu(model: Any, config: Any, count: int = 1) -> float:
    """Bytes that the backward pass needs of a batch of the longest documents, in each of `count`
    processes on a CPU. One alone takes long batches in parts."""
    tokens = math.ceil(config.finetune.batch_size / count) * longest(config)
    tokens = min(TOKENS_AT_ONCE, tokens) if count == 1 else tokens
    in_16 = cores_take_16_bits(config.compute.dtype)
    each = KEPT_FOR_BACKWARD if in_16 else KEPT_IN_FLOAT32
    # A token of an answer has logits, of which few are of a choice and most of a free answer.
    logits = LOGITS * WEIGHT * VOCABULARY if trains_freely(config) else 0
    return (each * shape(model)[0] * model.blocks + logits) * tokens


def trains_freely(config: Any) -> bool:
    """Whether a domain is trained on free answers."""
    return any(one.free(one.train or "") for one in config.tested.values())


def generates(config: Any) -> bool:
    """Whether a domain is tested on free answers: its evaluations generate them."""
    return any(one.tested_freely for one in config.tested.values())


def generated_together(config: Any) -> int:
    """Answers that an evaluation generates at once: so many prompts of the longest run at once."""
    return together(longest(config), config.evaluate.batch_tokens)


def _generated_on(model: Any, config: Any) -> float:
    """Keys and values, numbers, that an evaluation generates on; none without free answers."""
    if not generates(config):
        return 0.0
    evaluate, width = config.evaluate, shape(model)[0]
    kept = evaluate.batch_tokens + generated_together(config) * evaluate.answer_tokens
    return 2.0 * width * model.blocks * kept


def _training_bytes(
    task: str, model: Any, config: Any, share: float, way: Shared, added: float
) -> list[dict[str, float]]:
    """Bytes on each GPU before and while a pass trains: trained weights, `added` adapters and what
    is outside the blocks rest in float32, frozen blocks in 16 bits.

    One process whose weights lie on the device has read them in float32 before (those that adapters
    stand beside as they are stored); what waits elsewhere is read in the types that it rests in.
    """
    width, block, outside = shape(model)
    inside = max(0.0, model.parameters - outside)
    weights = WEIGHT * (share * inside + outside + added) + 2 * (1 - share) * inside
    held = {"weights": weights}
    held["gradients and moments"] = _state(config) * (share * inside + added)
    count, rows = way.count, math.ceil(way.batches * config.finetune.batch_size / way.count)
    kept = KEPT_FOR_BACKWARD * width * model.blocks * rows * LONGEST
    if way.again:  # the float32 stream of each block, and one block
        kept = kept / model.blocks + STREAM * width * model.blocks * rows * LONGEST
    passing = {"activations": kept}
    if count > 1:
        held = {name: 0 if config.compute.offload else held[name] / count for name in held}
        # The layer that runs and the next one in 16 bits; a gradient in 16 bits and in float32.
        passing["gathered"] = block * (2 * 2 + 2 + 4) + WEIGHT * outside
    read = stored_bytes(model) if by_lora(task, config) else WEIGHT * model.parameters
    alone = count == 1 and config.compute.weights_on == "device"
    return [held | passing, {"weights": read if alone else 0.0}]


def _compression_bytes(model: Any, config: Any) -> list[dict[str, float]]:
    """Bytes on a GPU of a dense loss in 16 bits, and of the work: a float32 block at a time
    with gradients or statistics and a copy; LLM-Pruner keeps every block's input, too."""
    (width, block, outside), tokens = shape(model), config.compress.max_tokens
    loss = {"weights": 2.0 * model.parameters, "streams": SCAN_BUFFERS * width * tokens}
    loss["one matrix in float32"] = WEIGHT * block / 4
    kept = (STREAM * model.blocks + KEPT_FOR_BACKWARD) * width * TEXTS_AT_ONCE * tokens
    return [loss, {"weights": WEIGHT * (outside + 3 * block), "activations": kept}]


def _forward_bytes(task: str, model: Any, config: Any, count: int) -> dict[str, float]:
    """Bytes on each GPU during a scan or an evaluation in 16 bits. One process that trims and keeps
    its weights on the device scans a rounded copy of them; a teacher is there as a whole."""
    (width, block, outside), there = shape(model), float(model.parameters)
    if config.compute.weights_on != "device" and task != "teach":
        there = outside + 2 * block
    elif task == "trim" and count == 1:
        there *= 1 + WEIGHT / 2
    tokens = config.evaluate.batch_tokens if task == "evaluate" else None
    tokens = tokens or config.trim.row_budget or ROW_BUDGET
    found = {"weights": 2 * there, "streams": SCAN_BUFFERS * width * tokens}
    if task == "evaluate":
        found["keys and values"] = 2 * _generated_on(model, config)
    return found
