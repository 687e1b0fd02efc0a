"""How much a job takes: one model of memory and one of time, from the size of its model.

Rules reserve by them and refuse by them (`resources`), `make plan` adds them up. Memory is on the
safe side. Time is operations over a rate that is reached, bytes over a bandwidth, and starts: what
such jobs took where it was measured, and good to a factor of two elsewhere. On GPUs, where nobody
has measured, it rests on a kind's data sheet (`gpus`) and on what `Assumed` names.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from trimllm.throughput.machine import fast_dtype
from trimllm_paper import gpus
from trimllm_paper.gpus import uses_gpu

MIB, GIB = 1 << 20, 1 << 30
TRAINING = ("full_ft", "sparse_ft", "trim", "settle")
"""Tasks that several processes share."""
COUNTS = (1, 2, 4, 8)
"""Processes that may share one (`sharing`)."""
TASKS = (*TRAINING, "fetch", "scan", "teach", "compress", "evaluate", "measure")
"""What jobs do with a model."""

# Memory. Bytes a parameter: float32 weights; gradients and AdamW's two moments, by optimizer (in 8
# bits with a float32 scale for each 256).
WEIGHT, STATE = 4, {"adamw": 12, "adamw_8bit": 6 + 2 * 4 / 256}
# Python with torch, transformers and lm-eval, and the activations of a small batch; a process that
# times a model, without these. A GPU's context, libraries, and what the allocator cannot use.
BASE_MIB, TIMED_MIB, OVERHEAD = 1600, 700, 2 * GIB
# Tokens that a model may know, where only its size is given: between LLaMA's and SmolLM's.
VOCABULARY = 50_000
# Bytes that training keeps of a block for each token, in multiples of the width: a float32 residual
# stream and norms, bfloat16 inputs of matrix products, 2.7 times as wide in the MLP; and what a
# scan holds for each token of its row budget.
KEPT_FOR_BACKWARD, SCAN_BUFFERS = 80, 40
# The same of the residual stream alone, in float32.
STREAM = 4
# Calibration texts of one backward pass of LLM-Pruner.
TEXTS_AT_ONCE = 8
# Tokens that a scan in 16 bits holds unless told otherwise; of the longest document of a batch.
ROW_BUDGET, LONGEST = 32768, 512

# Time. Operations a second of one core in 16 and in 32 bits. All parameters count, embeddings
# included.
CORE_16, CORE_32 = 3.3e11, 7e10
# Bytes a second: a core's memory, and the network outside.
CORE_MEMORY, DOWNLOAD = 2e10, 1e7
# Bytes a parameter: a pass (weights to 16 bits, then forward and backward); a step of AdamW
# (weight, gradient and two moments read, weight and moments written), by optimizer.
PASS_BYTES, STEP_BYTES = 16, {"adamw": 28, "adamw_8bit": 16}
# Seconds: a process until its imports are done; lm-eval and its tasks.
START, EVALUATION_START = 4.0, 0.8
# Seconds a parameter of what a compressor does once for each weight; others take the dearest.
COMPRESSING = {"awq_int4": 2.2e-7, "sparsegpt_2_4": 2.3e-7, "llm_pruner": 5e-8, "llm_int8": 2e-8}
# Documents and tokens where nobody has said.
TRAIN, TEST, TOKENS = 10_000, 5_000, 200
# GPUs' memory that a plan fills at most: what the allocator cannot use differs from run to run.
FILLED = 0.95


@dataclass(frozen=True)
class Assumed:
    """What times on GPUs rest on; `make plan` says how its hours move with each."""

    compute: float = 0.40
    """Share of the peak of 16-bit products that large ones reach."""
    memory: float = 0.75
    """Share of the bandwidth of a GPU's memory."""
    link: float = 0.60
    """Share of the bandwidth between GPUs that collective operations reach."""
    disk: float = 8e8
    """Bytes a second of a disk, with SHA-256 of what passes: each file is hashed when written and
    when read."""
    start: float = 25.0
    """Seconds until a process on a cluster's node has imported what it needs and has its GPU; until
    several have met, as many again."""
    launch: float = 7e-4
    """Seconds in which the host starts the kernels of a block once, forward: eager LLaMA-7B decodes
    about 45 tokens/s on an A100, whatever its bandwidth."""


ASSUMED = Assumed()


@dataclass(frozen=True)
class Memory:
    """MiB of the host's memory, and bytes on each GPU by what they hold (empty without GPUs)."""

    host_mib: int
    gpu: Mapping[str, float]

    @property
    def gpu_gib(self) -> float:
        """GiB on each GPU."""
        return sum(self.gpu.values()) / GIB


@cache
def core_has_16_bits() -> bool:
    """Whether this machine's cores multiply in bfloat16."""
    return fast_dtype("cpu") == "bfloat16"


def processes(task: str, model: Any, config: Any, ratio: float | None = None) -> int:
    """Processes of a job: only training is shared. Where the configuration does not tell them, the
    fewest whose GPUs hold what they need: what is not passed from GPU to GPU costs no time."""
    told = config.compute.processes
    if task not in TRAINING:
        return 1
    if isinstance(told, dict):
        told = told.get("trim" if task == "settle" else task)
    if told is not None:
        return told
    if not uses_gpu(config):
        return 1
    most = FILLED * gpus.kind_of(config)[1].gib
    counts = [n for n in sharing(task, config) if n <= config.finetune.batch_size]
    fits = (n for n in counts if memory(task, model, config, ratio, n, 1).gpu_gib <= most)
    return next(fits, counts[-1])


def together(task: str, model: Any, config: Any, ratio: float | None, count: int) -> int:
    """Batches of an optimizer step that several processes run as one, to gather weights once for
    all of them: as many as the GPUs hold, and a step consists of."""
    if count == 1 or task not in TRAINING or not uses_gpu(config):
        return 1
    steps, most = config.finetune.gradient_accumulation, FILLED * gpus.kind_of(config)[1].gib
    for n in range(steps, 1, -1):
        if steps % n == 0 and memory(task, model, config, ratio, count, n).gpu_gib <= most:
            return n
    return 1


def sharing(task: str, config: Any) -> tuple[int, ...]:
    """Numbers of processes that a task may be shared by."""
    alone = config.finetune.optimizer == "adamw_8bit" or config.compute.gradient_checkpointing
    alone = alone or by_lora(task, config)
    return COUNTS[:1] if alone or task not in TRAINING else COUNTS


def shape(model: Any) -> tuple[float, float, float]:
    """Width of a model's residual stream, parameters of a block, and those outside of the blocks,
    from its size: 12 width² weights a block, as in LLaMA, and two matrices of a vocabulary."""
    blocks, tables = 12 * model.blocks, 2 * VOCABULARY
    width = (math.sqrt(tables**2 + 4 * blocks * model.parameters) - tables) / 2 / blocks
    return width, 12 * width**2, tables * width


def stored_bytes(model: Any) -> int:
    """Bytes of the stored weights."""
    return model.parameters * (4 if model.storage_dtype == "float32" else 2)


def by_lora(task: str, config: Any) -> bool:
    """Whether a task trains adapters beside frozen weights."""
    return task == "full_ft" and config.finetune.lora is not None


def adapters(model: Any, config: Any) -> float:
    """Parameters of LoRA's adapters: rank times rows and columns of every matrix of a block, as in
    LLaMA four of attention (width by width) and three of an MLP of 8/3 width."""
    width, _, _ = shape(model)
    return config.finetune.lora.rank * model.blocks * (4 * 2 + 3 * (1 + 8 / 3)) * width


def _share(task: str, config: Any, ratio: float | None) -> float:
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
    count: int | None = None,
    batches: int | None = None,
) -> Memory:
    """Memory of a job on a model.

    Args:
        task: one of `TASKS`.
        model: one of the configuration's models.
        ratio: sparse update ratio; None takes the main chain's.
        count: processes; None takes those of `processes`.
        batches: that run as one; None takes those of `together`.
    """
    if task == "measure":  # a process each for the timed and the full one, with 16-bit weights
        return Memory(2 * (TIMED_MIB + math.ceil(1.2 * 2 * model.parameters / MIB)), {})
    share = _share(task, config, ratio)
    count = count or processes(task, model, config, ratio)
    phases: list[dict[str, float]] = []
    if task == "compress":
        phases += _compression_bytes(model, config)
    if task in ("trim", "scan", "evaluate", "teach"):
        phases.append(_forward_bytes(task, model, config, count))
    if task in TRAINING:
        added = adapters(model, config) if by_lora(task, config) else 0.0
        batches = batches or together(task, model, config, ratio, count)
        phases += _training_bytes(task, model, config, share, count, added, batches)
    most = max(phases, key=lambda parts: sum(parts.values()), default={})
    on_gpu = {**most, "overhead": OVERHEAD} if most and uses_gpu(config) else {}
    return Memory(_host_mib(task, model, config, share, count), on_gpu)


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
        trained = state if task in TRAINING and not gpu else 0.0
        need = WEIGHT * parameters + max(stored_bytes(model), trained)
    else:  # what the first writes, shares that are on no GPU, layers gathered in each process
        need = stored_bytes(model) + count * WEIGHT * (outside + 2 * block)
        need += WEIGHT * parameters + state if compute.offload or not gpu else 0
        scanned = task == "trim" and (place == "host" or (place == "device" and not gpu))
        need += count * WEIGHT * parameters if scanned else 0
    return count * BASE_MIB + math.ceil(need / MIB)


def _training_bytes(
    task: str, model: Any, config: Any, share: float, count: int, added: float, batches: int
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
    rows = math.ceil(batches * config.finetune.batch_size / count)
    kept = KEPT_FOR_BACKWARD * width * model.blocks * rows * LONGEST
    if config.compute.gradient_checkpointing:  # the float32 stream of each block, and one block
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
    return {"weights": 2 * there, "streams": SCAN_BUFFERS * width * tokens}


def seconds(task: str, model: Any, config: Any, **options: Any) -> float:
    """Seconds that a job is expected to take; options as in `spent`."""
    return sum(spent(task, model, config, **options).values())


def spent(
    task: str,
    model: Any,
    config: Any,
    *,
    ratio: float | None = None,
    kept: float = 1.0,
    expected: Any = None,
    prepared: int | None = None,
    tests: int = 1,
    compressor: str | None = None,
    settle: int = 0,
    assumed: Assumed = ASSUMED,
    kind: gpus.Kind | None = None,
) -> dict[str, float]:
    """Seconds of a job by what it does; "start" is what passes before the clock of its provenance.

    A token takes 2 operations a parameter forward, 2 back through activations, 2 for what is
    trained, and 2 for what is computed again; a scan of N units 2 · N / 2.

    Args:
        ratio: share of the blocks that are trained; None takes the main chain's.
        kept: share of the units that the model has left.
        expected: `train` and `test`, documents of the domain; `tokens`, of one of them. What the
            configuration limits is limited.
        prepared: training documents of the domain, where somebody has counted.
        tests: tasks of an evaluation.
        settle: passes at most that settle a checkpoint.
        assumed: what times on GPUs rest on.
        kind: of the GPUs; None takes the configuration's.
    """
    on_gpu = uses_gpu(config)
    section = config.throughput if task == "measure" else config.compute
    disk, start, launch = assumed.disk, START, 0.0
    kind = kind or gpus.kind_of(config)[1] if on_gpu else None
    if kind:
        rate, bandwidth = assumed.compute * kind.rate, assumed.memory * kind.memory
        start, launch = assumed.start, assumed.launch
    else:
        threads = section.threads or os.cpu_count() or 1
        in_16 = section.dtype != "float32" and core_has_16_bits()
        rate, bandwidth = threads * (CORE_16 if in_16 else CORE_32), threads * CORE_MEMORY
    if task == "measure":  # beside the full model; decoding reads all weights for each token
        twice, tokens = 2 * 2 * model.parameters, (section.repeats + 1) * section.generate
        prompts = (section.prefills + 1) * (section.tokens - section.generate)
        found = {"start": 2 * start, "load": twice / disk}
        decode = max(twice / bandwidth, 2 * launch * getattr(model, "blocks", 0))
        return found | {"decode": decode * tokens, "prompt": twice * prompts / rate}

    finetune, trim, share = config.finetune, config.trim, _share(task, config, ratio)
    count, blocks = processes(task, model, config, ratio), kept * model.blocks
    parameters, stored = kept * model.parameters, kept * stored_bytes(model)
    each = 2 * parameters * (getattr(expected, "tokens", None) or TOKENS) / rate  # a document
    found = {"start": start * (1 if count == 1 else 2), "load": stored / disk}
    if task == "fetch":
        found["fetch"] = stored / DOWNLOAD
    if task in ("scan", "trim"):
        shared = count if task == "trim" else 1
        found["scan"] = trim.calibration_documents * each * blocks / shared
    if task in TRAINING:
        limit, epochs = finetune.documents, finetune.epochs
        if task == "trim":
            limit, epochs = trim.documents, 1
        elif task == "settle":
            epochs = settle
        known = prepared or getattr(expected, "train", None) or TRAIN
        documents = epochs * min(limit or known, known)
        batches = together(task, model, config, ratio, count)
        passes = math.ceil(documents / finetune.batch_size / batches)
        updates = batches / finetune.gradient_accumulation  # of a pass
        step = STEP_BYTES[finetune.optimizer]
        added = adapters(model, config) / parameters if by_lora(task, config) else 0.0
        moved = PASS_BYTES + (share + added) * step * updates
        again = 1 if config.compute.gradient_checkpointing else 0
        # A pass takes as long as its operations, or as the host takes to start them.
        started = passes * (3 + again) * launch * blocks
        found["train"] = max(documents * each * (2 + share + added + again) / count, started)
        found["update"] = passes * parameters * moved / bandwidth / (count if on_gpu else 1)
        if count > 1 and kind:
            # 16-bit weights to all, forward and backward, and float32 gradients to who holds them.
            moved = (2 * 2 + 4 * share) * parameters
            found["gather"] = passes * moved * (count - 1) / count / (assumed.link * kind.link)
        # What held-back documents say after each pass: four choices share a prompt.
        found["held back"] = epochs * finetune.held_back_documents * each
    if task == "teach":
        found["teach"] = (prepared or getattr(expected, "train", None) or TRAIN) * each
    if task == "evaluate":
        known, limit = getattr(expected, "test", None) or TEST, config.evaluate.documents
        found["evaluate"] = EVALUATION_START + min(tests * limit if limit else known, known) * each
    if task == "compress":
        dearest = max(COMPRESSING.values())
        found["compress"] = parameters * COMPRESSING.get(compressor or "", dearest)
        # Two processes more load a checkpoint and measure its loss: what was made, the yardstick.
        proof = start + stored / disk + config.compress.held_back_documents * each
        found["proof"] = 2 * proof
    if config.compute.weights_on == "disk" and task in ("scan", "trim", "evaluate"):
        # All weights once for each batch of rows.
        many, most = trim.calibration_documents, trim.row_budget or ROW_BUDGET
        if task == "evaluate":
            many, most = min(tests * limit if limit else known, known), config.evaluate.batch_tokens
        tokens = many * (getattr(expected, "tokens", None) or TOKENS)
        found["read"] = math.ceil(tokens / most) * stored / disk
    if task not in ("scan", "evaluate", "teach"):
        found["save"] = stored / disk
    return found
