"""On which GPUs the models of a configuration can be trimmed, by task and kind of GPU."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

from trimllm_paper import demand

GPUS = {
    "A100-80GB": 80,
    "H100-80GB": 80,
    "A100-40GB": 40,
    "L40S": 48,
    "RTX 3090": 24,
    "RTX 4090": 24,
}
"""GiB of memory by kind."""
COUNTS = (1, 2, 4, 8)
TASKS = ("full_ft", "trim", "scan", "compress", "evaluate")


Way = tuple[Any, demand.Memory]
"""How a task runs: section `compute` of the configuration, and what it takes then."""


def ways(task: str, model: Any, config: Any) -> Iterator[Way]:
    """Ways to run a task, the most wanted first: offload only where nothing else fits, a scan from
    disk where the model does not fit as it is. What is trained or compressed is not streamed."""
    counts = COUNTS if task in demand.TRAINING else COUNTS[:1]
    places = ("device",) if task in ("full_ft", "compress") else ("device", "disk")
    for offload, count, place in itertools.product((False, True), counts, places):
        if count > 1 or not offload:
            changes = {"device": "cuda", "processes": count, "offload": offload}
            compute = config.compute.model_copy(update=changes | {"weights_on": place})
            yield compute, demand.memory(task, model, config, compute=compute)


def fit(task: str, model: Any, config: Any, gib: float) -> Way | None:
    """The first way that fits on GPUs of so many GiB."""
    return next((way for way in ways(task, model, config) if way[1].gpu_gib <= gib), None)


def text(config: Any) -> str:
    """The plans of all models of a configuration."""
    lines = []
    for name, model in config.models.items():
        lines.append(f"{name}: {model.parameters / 1e9:.1f} billion parameters")
        for task, (gpu, gib) in itertools.product(TASKS, GPUS.items()):
            line, way = f"  {task:8} {gpu:10} ", fit(task, model, config, gib)
            if way is None:
                most = COUNTS[-1] if task in demand.TRAINING else COUNTS[0]
                lines.append(f"{line}does not fit on {most}")
                continue
            (compute, memory), count = way, way[0].processes
            line += f"x {count}  {memory.gpu_gib:5.1f} of {gib} GiB each"
            line += f", host {math.ceil(memory.host_mib / 1024)} GiB"
            # Each process needs a document of every batch.
            line += f", batch_size: {count}" if count > config.finetune.batch_size else ""
            line += ", offload: true" if compute.offload else ""
            line += ", weights_on: disk" if compute.weights_on == "disk" else ""
            lines.append(line)
    return "\n".join(lines)
