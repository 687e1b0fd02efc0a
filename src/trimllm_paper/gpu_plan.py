"""On which GPUs a model can be trimmed: memory of each job, part by part, by kind of GPU.

    python -m trimllm_paper.gpu_plan --configfile config/paper.yaml

Planning figures on the safe side, from the size of a model alone; what a job really took is in its
record. `plan` gives rows to print, `text` prints them.
"""

from __future__ import annotations

import argparse
import math
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from trimllm_paper import demand

GIB = 1 << 30
# GiB of memory by kind.
GPUS = {
    "A100-80GB": 80,
    "H100-80GB": 80,
    "A100-40GB": 40,
    "L40S": 48,
    "RTX 3090": 24,
    "RTX 4090": 24,
}
COUNTS = (1, 2, 4, 8)
TASKS = ("full_ft", "trim", "scan", "compress", "evaluate")
# CUDA context, libraries, and what the allocator cannot use.
OVERHEAD = 2 * GIB
# Bytes that training keeps of a block for each token, in multiples of the width: a float32 residual
# stream and norms, bfloat16 inputs of matrix products, 2.7 times as wide in the MLP.
KEPT_FOR_BACKWARD = 80
# Bytes that a scan holds for each token of its row budget, in multiples of the width.
SCAN_BUFFERS = 40
# Tokens that a scan in 16 bits holds unless told otherwise (ROW_BUDGETS of the scan).
ROW_BUDGET = 32768
# Tokens of the longest document of a batch.
LONGEST = 512


def training_bytes(
    model: dict[str, Any], config: dict[str, Any], share: float, processes: int, offload: bool
) -> dict[str, float]:
    """Bytes on each GPU while a pass trains, by what they hold.

    Args:
        share: of the blocks that are trained.
        processes: GPUs that train together; one holds everything.
        offload: weights, gradients and moments lie in host memory.
    """
    outside, all_blocks = demand.outside_blocks(model), model["parameters"]
    all_blocks = max(0.0, all_blocks - outside)
    trained = share * all_blocks
    # Trained weights and what is outside the blocks rest in float32, frozen blocks in bfloat16.
    weights = demand.WEIGHT * (trained + outside) + 2 * (all_blocks - trained)
    state = (demand.GRADIENT + demand.MOMENTS) * trained
    rows = math.ceil(config["finetune"]["batch_size"] / processes)
    kept = KEPT_FOR_BACKWARD * demand.width(model) * model["blocks"] * rows * LONGEST
    found = {"weights": weights, "gradients and moments": state, "activations": kept}
    if processes > 1:
        # The layer that runs and the next one in bfloat16; a gradient in bfloat16 and in float32.
        layers = demand.block(model) * (2 * 2 + 2 + 4)
        found["gathered"] = layers + demand.WEIGHT * outside
        for name in ("weights", "gradients and moments"):
            found[name] = 0.0 if offload else found[name] / processes
    found["overhead"] = OVERHEAD
    return found


def forward_bytes(
    task: str, model: dict[str, Any], config: dict[str, Any], place: str
) -> dict[str, float]:
    """Bytes on each GPU during a scan or an evaluation in bfloat16.

    Args:
        task: "scan" or "evaluate" by themselves, "trim" for the scan of an epoch.
        place: where weights wait (`compute.weights_on`). One process that trims and keeps them
            on the device scans a rounded copy of those that it will train.
    """
    there = model["parameters"]
    if place != "device":
        there = demand.outside_blocks(model) + 2 * demand.block(model)
    elif task == "trim" and config["compute"]["processes"] == 1:
        there *= 1 + demand.WEIGHT / 2
    tokens = config["evaluate"]["batch_tokens"] if task == "evaluate" else None
    tokens = tokens or config["trim"]["row_budget"] or ROW_BUDGET
    buffers = SCAN_BUFFERS * demand.width(model) * tokens
    return {"weights": 2.0 * there, "streams": buffers, "overhead": OVERHEAD}


def plan(model: dict[str, Any], config: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """For each task and kind of GPU the fewest GPUs of COUNTS that it fits on.

    Offload is taken only where nothing else fits, and a scan from disk where the model does not
    fit as it is.

    Returns:
        Rows of task (see TASKS), gpu, processes (None: does not fit), offload, weights_on, gib
        (what the job needs on each), available (GiB), host_gib.
    """
    for task in TASKS:
        for gpu, available in GPUS.items():
            row = next(
                (row for row in _choices(task, model, config) if row["gib"] <= available),
                {"processes": None, "offload": None, "weights_on": None, "gib": None},
            )
            yield {"task": task, "gpu": gpu, "available": available, "host_gib": None, **row}


def needed_gib(task: str, model: dict[str, Any], config: dict[str, Any]) -> float:
    """GiB on each GPU for a task as the configuration would run it.

    Args:
        task: one of TASKS, or "sparse_ft".
    """
    compute = config["compute"]
    if task == "compress":  # float32 weights, and what LLM-Pruner keeps of a text for its gradients
        kept = KEPT_FOR_BACKWARD * demand.width(model) * model["blocks"]
        kept *= config["compress"]["max_tokens"]
        return (demand.WEIGHT * model["parameters"] + kept + OVERHEAD) / GIB
    needs = []
    if task in ("trim", "scan", "evaluate"):
        needs.append(sum(forward_bytes(task, model, config, compute["weights_on"]).values()))
    if task in demand.TRAINING:
        share = 1.0 if task == "full_ft" else config["trim"]["ratio"]
        count, offload = compute["processes"], compute["offload"]
        needs.append(sum(training_bytes(model, config, share, count, offload).values()))
    return max(needs) / GIB


def _choices(task: str, model: dict[str, Any], config: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Ways to run a task, the most wanted first."""
    for offload in (False, True):
        for processes in COUNTS if task in demand.TRAINING else COUNTS[:1]:
            if offload and processes == 1:
                continue
            # What is trained or compressed is not streamed.
            for place in ("device",) if task in ("full_ft", "compress") else ("device", "disk"):
                compute = config["compute"] | {
                    "processes": processes,
                    "offload": offload,
                    "weights_on": place,
                    "device": "cuda",
                }
                chosen = config | {"compute": compute}
                yield {
                    "processes": processes,
                    "offload": offload,
                    "weights_on": place,
                    "gib": round(needed_gib(task, model, chosen), 1),
                    "host_gib": math.ceil(demand.memory_mb(task, model, chosen) / 1024),
                }


def text(config: dict[str, Any]) -> str:
    """The plans of all models of a configuration, a line for each task and kind of GPU."""
    lines = []
    for name, model in config["models"].items():
        lines.append(f"{name}: {model['parameters'] / 1e9:.1f} billion parameters")
        for row in plan(model, config):
            line = f"  {row['task']:8} {row['gpu']:10} "
            if row["processes"] is None:
                most = COUNTS[-1] if row["task"] in demand.TRAINING else COUNTS[0]
                lines.append(f"{line}does not fit on {most}")
                continue
            line += f"x {row['processes']}  {row['gib']:5.1f} of {row['available']} GiB each"
            line += f", host {row['host_gib']} GiB"
            # Each process needs a document of every batch.
            if row["processes"] > config["finetune"]["batch_size"]:
                line += f", batch_size: {row['processes']}"
            line += ", offload: true" if row["offload"] else ""
            line += ", weights_on: disk" if row["weights_on"] == "disk" else ""
            lines.append(line)
    return "\n".join(lines)


def gpus_here() -> list[float]:
    """GiB of every GPU that jobs on this machine may use; none where nothing tells."""
    command = ["nvidia-smi", "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    found = [float(line) / 1024 for line in run.stdout.split()]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return found if visible is None else found[: len([v for v in visible.split(",") if v.strip()])]


def shortfall(
    jobs: Iterable[tuple[str, dict[str, Any]]], config: dict[str, Any], gpus: Sequence[float]
) -> tuple[str, Any, str] | None:
    """Why a machine's GPUs do not do for some jobs: key of `compute`, its value, problem.

    Args:
        jobs: task and model of each.
        config: the resolved configuration, which runs on GPUs.
        gpus: GiB of each GPU of the machine.
    """
    compute, asked = config["compute"], set()
    if not gpus:
        return "device", compute["device"], "this machine has no GPU (nvidia-smi names none)"
    for task, model in jobs:
        if (task, model["parameters"]) in asked or task == "fetch":
            continue
        asked.add((task, model["parameters"]))
        count = compute["processes"] if task in demand.TRAINING else 1
        if count > len(gpus):
            return "processes", count, f"this machine has {len(gpus)} GPUs, a process needs its own"
        need, have = needed_gib(task, model, config), min(gpus)
        if need > have:
            problem = (
                f"{task} of {model['label']} takes about {need:.0f} GiB on each GPU and this "
                f"machine's have {have:.0f}; `make plan` says what fits (processes, offload, "
                "weights_on)"
            )
            return "processes", compute["processes"], problem
    return None


if __name__ == "__main__":
    root = Path(__file__).parents[2]
    from trimllm_paper.config import settings

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--configfile", type=Path, default=root / "config" / "config.yaml")
    file = parser.parse_args().configfile
    try:
        full, _ = settings.load(settings.read_yaml(file), root, [file])
    except settings.UserError as error:
        sys.exit(f"error: {error}")
    print(text(full))
