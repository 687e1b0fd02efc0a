"""On which GPUs the models of a configuration can be trimmed, by task and kind of GPU."""

from __future__ import annotations

import itertools
import math
from typing import Any

from trimllm_paper import demand
from trimllm_paper.gpus import KINDS, kind_of

TASKS = ("full_ft", "trim", "scan", "compress", "evaluate")
Way = tuple[Any, demand.Memory]
"""How a task runs: section `compute` of the configuration, and what it takes then."""


def fit(task: str, model: Any, config: Any, gib: float) -> Way | None:
    """The most wanted way that fits on GPUs of so many GiB: offload only where nothing else does, a
    scan from disk where the model does not fit as it is, blocks computed again where they fit on as
    many GPUs so. What is trained is not streamed, and compression takes the blocks one by one of
    itself."""
    counts = demand.sharing(task, config)
    places = ("device",) if task in ("full_ft", "compress") else ("device", "disk")
    told = config.compute.gradient_checkpointing
    all_ways = (told,) if told is not None or task not in demand.TRAINING else (False, True)
    tried = itertools.product((False, True), counts, places, all_ways)
    for offload, count, place, again in tried:
        how = {"device": "cuda", "processes": count, "offload": offload, "weights_on": place}
        compute = config.compute.model_copy(update=how)
        changed = config.model_copy(update={"compute": compute})
        memory = demand.memory(task, model, changed, way=demand.Shared(count, 1, bool(again)))
        if memory.gpu_gib <= demand.FILLED * gib and (count > 1 or not offload):
            return compute, memory
    return None


def taken(way: demand.Shared) -> str:
    """How the plan runs a training on the GPUs of its configuration, which may be more than the
    fewest: what takes the fewest GPU-hours."""
    words = f"the plan takes x {way.count}"
    words += f", {way.batches} batches at once" if way.batches > 1 else ""
    return words + (", blocks computed again" if way.again else "")


def text(config: Any) -> str:
    """The plans of all models of a configuration."""
    lines, (own, _) = [], kind_of(config)
    for name, model in config.models.items():
        lines.append(f"{name}: {model.parameters / 1e9:.1f} billion parameters")
        for task, (gpu, kind) in itertools.product(TASKS, KINDS.items()):
            line, way = f"  {task:8} {gpu:15} ", fit(task, model, config, kind.gib)
            if way is None:
                line += f"does not fit on {demand.sharing(task, config)[-1]}"
            else:
                (compute, memory), count = way, way[0].processes
                line += f"x {count}  {memory.gpu_gib:5.1f} of {kind.gib} GiB each"
                line += f", host {math.ceil(memory.host_mib / 1024)} GiB"
                # Each process needs a document of every batch.
                line += f", batch_size: {count}" if count > config.finetune.batch_size else ""
                line += ", offload: true" if compute.offload else ""
                line += ", weights_on: disk" if compute.weights_on == "disk" else ""
            if gpu == own and task in demand.TRAINING:
                line += f"; {taken(demand.shared(task, model, config))}"
            lines.append(line)
    return "\n".join(lines)
