"""What a target costs, before anything runs: jobs, hours, disk and wall-clock time.

    python -m trimllm_paper plan all --configfile config/paper.yaml --parallel 8 --price 2.5

Jobs are those of a dry run; `trimllm_paper.resources` estimates each.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from trimllm_paper import gpus, invocation
from trimllm_paper.config import load
from trimllm_paper.plan import Plan, pending
from trimllm_paper.resources import GIB


def run(
    targets: list[str],
    configfiles: list[Path],
    config: list[str],
    parallel: int | None,
    price: float | None,
) -> int:
    """Print the plan; the last line on stdout is one JSON object.

    Args:
        parallel: cores or GPUs at once.
        price: of an hour of a core or GPU, in any currency.
    """
    files = configfiles or [invocation.DEFAULT]
    loaded = load(invocation.configuration(configfiles, config), files)
    plan = Plan(pending(targets, configfiles, config), loaded)
    on_gpu, counts = plan.resources.gpu, Counter(task for task, _ in plan.work)
    parallel = parallel or (4 if on_gpu else 2)
    unit = "GPU-hours" if on_gpu else "core-hours"
    hours, wall, disk = plan.hours(), plan.wall_seconds(parallel) / 3600, plan.disk_bytes(parallel)
    print(f"{'task':10} {'jobs':>6} {unit:>12}")
    for task, spent in sorted(plan.hours_by("task").items(), key=lambda one: -one[1]):
        print(f"{task:10} {counts[task]:6} {spent:12.2f}")
    print(f"{'all':10} {len(plan.jobs):6} {hours:12.2f}")
    for model, spent in plan.hours_by("model").items():
        print(f"  {model}: {spent:.2f} {unit}")
    print(f"Wall clock, {parallel} at once: {wall:.1f} h on an idle machine as fast as assumed,")
    print(f"up to {2 * wall:.1f} h on a slower or busy one. Disk: up to {disk / 1e9:,.0f} GB.")
    print(f"Assumed speed: {'that of earlier jobs' if plan.resources.earlier else 'data sheets'}.")
    if price is not None:
        print(f"Price: {price * hours:,.0f}")
    if on_gpu:
        print_gpus(plan)
    last = {"jobs": len(plan.jobs), "hours": hours, "wall_hours": wall, "disk_gb": disk / 1e9}
    print(json.dumps(last | {"models": plan.hours_by("model")}))
    return 0


def print_gpus(plan: Plan) -> None:
    """GPUs and memory of each task and model."""
    kind, data = gpus.kind_of(plan.config)
    print(f"GPU: {kind}, {data.gib:.0f} GiB")
    for (task, model), one in sorted({(t, w["model"]): (t, w) for t, w in plan.work}.items()):
        need, split = plan.resources.memory(*one), plan.resources.split(*one)
        if need.gpu:
            recomputed = ", blocks recomputed" if split.recompute else ""
            print(
                f"  {task:10} {model:16} x {split.processes}: {need.gpu / GIB:5.1f} GiB each, "
                f"host {need.host / GIB:.0f} GiB{recomputed}"
            )
