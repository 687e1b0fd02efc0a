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
    parallel, unit = parallel or (4 if on_gpu else 2), "GPU-hours" if on_gpu else "core-hours"
    by_task, by_model = plan.hours_by("task"), plan.hours_by("model")
    hours, wall = sum(by_task.values()), plan.wall_seconds(parallel) / 3600
    disk = plan.disk_bytes(parallel) / 1e9
    print(f"{'task':10} {'jobs':>6} {unit:>12}")
    for task, spent in sorted(by_task.items(), key=lambda one: -one[1]):
        print(f"{task:10} {counts[task]:6} {spent:12.2f}")
    print(f"{'all':10} {len(plan.jobs):6} {hours:12.2f}")
    for model, spent in by_model.items():
        print(f"  {model}: {spent:.2f} {unit}")
    print(f"Wall clock, {parallel} at once: {wall:.1f} h on an idle machine as fast as assumed,")
    print(f"up to {2 * wall:.1f} h on a slower or busy one. Disk: up to {disk:,.0f} GB.")
    print(f"Assumed speed: {'that of earlier jobs' if plan.resources.earlier else 'data sheets'}.")
    if price is not None:
        print(f"Price: {price * hours:,.0f}")
    if on_gpu:
        kind, data = gpus.kind_of(loaded)
        print(f"GPU: {kind}, {data.gib:.0f} GiB")
        for (task, model), one in sorted({(t, w["model"]): (t, w) for t, w in plan.work}.items()):
            need, split = plan.resources.memory(*one), plan.resources.split(*one)
            if not need.gpu:
                continue
            each = f"{need.gpu / GIB:5.1f} GiB each, host {need.host / GIB:.0f} GiB"
            recomputed = ", blocks recomputed" if split.recompute else ""
            print(f"  {task:10} {model:16} x {split.processes}: {each}{recomputed}")
    last = {"jobs": len(plan.jobs), "hours": hours, "wall_hours": wall, "disk_gb": disk}
    print(json.dumps(last | {"models": by_model}))
    return 0
