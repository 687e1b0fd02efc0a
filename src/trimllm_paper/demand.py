"""How much memory and time a job may take, from the size of its model.

Planning figures, on the safe side: they keep two large jobs from starting together, tell a cluster
what to reserve, and refuse at once what cannot fit. What a job really took is in its provenance.
"""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path
from typing import Any

MIB = 1 << 20
# Python with torch, transformers and lm-eval, and the activations of a small batch.
BASE_MIB = 1600
# Bytes a parameter in memory: float32 weights, gradients, AdamW's two moments.
WEIGHT, GRADIENT, MOMENTS = 4, 4, 8
# Sustained operations a second, deliberately low: one core, one GPU.
CORE_RATE, GPU_RATE = 2e10, 5e13
TOKENS_PER_DOCUMENT = 200
# Tokens that a model may know, where only its size is given: between LLaMA's and SmolLM's.
VOCABULARY = 50_000
# Tasks that `compute.processes` share.
TRAINING = ("full_ft", "sparse_ft", "trim")
# What jobs reach in fact: a core in float32 and in bfloat16, a data-centre GPU; and their start.
CORE_SUSTAINED, CORE_BFLOAT16, GPU_SUSTAINED, START_SECONDS = 7e10, 2.5e11, 1.5e14, 6.0
# Bytes a second from outside, and to and from a busy network file system.
DOWNLOAD_RATE, STORAGE_RATE = 1e7, 1e8
# Training documents of a domain that is not prepared yet (MedMCQA, the largest, has 183,000).
MANY = 200_000
# Start of a rule's name -> what its jobs do with a model.
TASKS = {
    "fetch_model": "fetch",
    "initial_scan": "scan",
    "full_ft": "full_ft",
    "sparse_ft": "sparse_ft",
    "drop_at_once": "sparse_ft",
    "trim_epoch": "trim",
    "compress": "compress",
    "evaluate": "evaluate",
}


def task_of(rule: str) -> str | None:
    """What the jobs of a rule do with a model, or None if they have none."""
    return next((task for start, task in TASKS.items() if rule.startswith(start)), None)


def gpus() -> int:
    """GPUs of this machine, without asking their driver."""
    return len(list(Path("/dev").glob("nvidia[0-9]*")))


@cache
def core_has_bfloat16() -> bool:
    """Whether this machine's cores multiply in bfloat16, without asking torch."""
    try:
        words = set(Path("/proc/cpuinfo").read_text(encoding="utf-8").split())
    except OSError:
        return False
    return bool(words & {"avx512_bf16", "amx_bf16"})


def memory_mb(
    task: str,
    model: dict[str, Any],
    config: dict[str, Any],
    ratio: str | float | None = None,
) -> int:
    """MiB of memory for a job on a model.

    Args:
        task: "fetch", "scan", "full_ft", "sparse_ft", "trim", "compress" or
            "evaluate".
        model: one model of the configuration.
        config: the resolved configuration.
        ratio: sparse update ratio; None takes the configuration's.

    Loading holds the stored file beside the float32 weights; training adds gradients and moments
    for what is trained; compressing holds the float32 weights three times (the model, what an
    engine works on, the yardstick) beside those that a second process loads.
    """
    if (special := _streamed_or_shared_mb(task, model, config, ratio)) is not None:
        return special
    stored = 4 if model["storage_dtype"] == "float32" else 2
    trained = {"full_ft": 1.0, "sparse_ft": float(ratio or config["trim"]["ratio"])}
    trained["trim"] = trained["sparse_ft"]
    training = trained.get(task, 0.0) * (GRADIENT + MOMENTS)
    bytes_each = 4 * WEIGHT if task == "compress" else WEIGHT + max(stored, training)
    return BASE_MIB + math.ceil(model["parameters"] * bytes_each / MIB)


def _streamed_or_shared_mb(
    task: str, model: dict[str, Any], config: dict[str, Any], ratio: str | float | None
) -> int | None:
    """MiB of host memory where a model is streamed or trained by several processes; else None."""
    compute, parameters = config["compute"], model["parameters"]
    count = compute["processes"] if task in TRAINING else 1
    place = compute["weights_on"]
    stored = 4 if model["storage_dtype"] == "float32" else 2
    if task in ("scan", "evaluate") and place != "device":
        waiting = parameters if place == "host" else 0
        return BASE_MIB + math.ceil(WEIGHT * (outside_blocks(model) + block(model) + waiting) / MIB)
    if count == 1:
        return None
    on_gpu = uses_gpu(config)
    share = 1.0 if task == "full_ft" else float(ratio or config["trim"]["ratio"])
    state = WEIGHT + share * (GRADIENT + MOMENTS)
    # What the first process writes, shares that are not on a GPU, layers gathered in each process.
    need = parameters * stored
    if compute["offload"] or not on_gpu:
        need += parameters * state
    need += count * WEIGHT * (outside_blocks(model) + 2 * block(model))
    if task == "trim" and place != "disk" and (place == "host" or not on_gpu):
        need += count * WEIGHT * parameters
    return count * BASE_MIB + math.ceil(need / MIB)


def width(model: dict[str, Any]) -> float:
    """Width of a model's residual stream, from its size: 12 width^2 weights a block, as in LLaMA,
    and two matrices of a vocabulary."""
    blocks, vocabulary = 12 * model["blocks"], 2 * VOCABULARY
    return (math.sqrt(vocabulary**2 + 4 * blocks * model["parameters"]) - vocabulary) / 2 / blocks


def outside_blocks(model: dict[str, Any]) -> float:
    """Parameters of embeddings and head."""
    return 2 * VOCABULARY * width(model)


def block(model: dict[str, Any]) -> float:
    """Parameters of a block."""
    return 12 * width(model) ** 2


def uses_gpu(config: dict[str, Any]) -> bool:
    """Whether jobs run on a GPU."""
    device = config["compute"]["device"]
    return device == "cuda" or (device == "auto" and gpus() > 0)


def runtime_minutes(
    task: str,
    model: dict[str, Any],
    config: dict[str, Any],
    gpu: bool,
    prepared: int | None = None,
) -> int:
    """Minutes for a job on a model: operations and bytes over low rates, and ten to start with.

    Args:
        prepared: training documents of the domain; None if nobody knows yet.

    A training pass counts 6 operations a parameter and token, an evaluation 2, a scan of N units
    2·N/2.
    """
    per_parameter = {"full_ft": 6.0, "sparse_ft": 6.0, "evaluate": 2.0, "fetch": 0.0, "trim": 6.0}
    # AWQ, the dearest, runs a unit ten times for each of its layers, in fake four-bit weights.
    per_parameter |= {"scan": 0.0, "compress": 80.0}
    finetune, trim = config["finetune"], config["trim"]
    there = prepared or MANY
    tuned = min(finetune["documents"] or there, there) * finetune["epochs"]
    documents = {
        "full_ft": tuned,
        "sparse_ft": tuned,
        "evaluate": 3 * (config["evaluate"]["documents"] or 5_000),
        "compress": config["compress"]["calibration_documents"],
        "fetch": 0,
        "scan": 0,
        "trim": min(trim["documents"] or there, there),
    }[task]
    scanned = trim["calibration_documents"] if task in ("scan", "trim") else 0
    work = documents * per_parameter[task] + scanned * 2 * model["blocks"]
    rate = GPU_RATE if gpu else CORE_RATE * config["compute"]["threads"]
    seconds = model["parameters"] * TOKENS_PER_DOCUMENT * work / rate
    stored = model["parameters"] * (4 if model["storage_dtype"] == "float32" else 2)
    seconds += 2 * stored / STORAGE_RATE + (stored / DOWNLOAD_RATE if task == "fetch" else 0)
    return 10 + math.ceil(seconds / 60)


def benchmark_mb(parameters: int, models: int = 2) -> int:
    """MiB of memory for a measurement: a process for each model, with 16-bit weights.

    Args:
        models: 2, the measured model and the full one; one after the other where that is too much.
    """
    return models * (700 + math.ceil(1.2 * 2 * parameters / MIB))


def seconds(
    task: str,
    model: dict[str, Any],
    config: dict[str, Any],
    gpu: bool,
    *,
    ratio: float | None = None,
    kept: float = 1.0,
    expected: dict[str, int] | None = None,
) -> float:
    """Seconds that a job is expected to take, for plans.

    Per token and parameter a forward pass takes 2 operations; backward takes 2 for the activations
    and 2 for what is trained. A scan of N units takes 2 N / 2.

    Args:
        ratio: share of the blocks that are trained; None takes the configuration's.
        kept: share of the units that the model has left.
        expected: `train` and `test`, the documents of the domain; `tokens`, of one of them. What
            the configuration limits is limited.
    """
    finetune, trim, expected = config["finetune"], config["trim"], expected or {}
    share = {"full_ft": 1.0}.get(task, float(ratio or trim["ratio"]))

    def limited(limit: int | None, name: str, otherwise: int) -> int:
        size = expected.get(name, otherwise)
        return size if limit is None else min(limit, size)

    train = limited(trim["documents"], "train", 10_000)
    passes = limited(finetune["documents"], "train", 10_000) * finetune["epochs"]
    trained = {"full_ft": passes, "sparse_ft": passes, "trim": train}.get(task, 0)
    tested = limited(config["evaluate"]["documents"], "test", 5_000) if task == "evaluate" else 0
    scanned = trim["calibration_documents"] if task in ("scan", "trim") else 0
    units = 2 * model["blocks"] * kept
    each = trained * (4 + 2 * share) + tested * 2 + scanned * units
    tokens = expected.get("tokens", TOKENS_PER_DOCUMENT)
    rounded = config["compute"]["dtype"] != "float32" and core_has_bfloat16()
    core = CORE_BFLOAT16 if rounded else CORE_SUSTAINED
    rate = GPU_SUSTAINED if gpu else core * config["compute"]["threads"]
    loading = model["parameters"] * WEIGHT / 5e8
    return START_SECONDS + loading + model["parameters"] * kept * tokens * each / rate


def again(need: int, attempt: int) -> int:
    """What to ask for at the n-th attempt: half as much more after each that was killed."""
    return math.ceil(need * (1 + 0.5 * (attempt - 1)))
