"""What a target would take, before anything runs: jobs, hours, disk and wall-clock time.

    python -m trimllm_paper plan all --configfile config/paper.yaml --parallel 8 --price 2.5

Jobs are those of a dry run; `trimllm_paper.resources` says what each takes.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from trimllm_paper import driver, gpus, invocation
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
    loaded = load(
        invocation.configuration(configfiles, config), configfiles or [invocation.DEFAULT]
    )
    plan = Plan(pending(targets, configfiles, config), loaded)
    on_gpu, counts = plan.resources.gpu, Counter(task for task, _ in plan.work)
    parallel = parallel or (4 if on_gpu else 2)
    unit = "GPU-hours" if on_gpu else "core-hours"
    hours, wall, disk = plan.hours(), plan.wall_seconds(parallel), plan.disk_bytes(parallel)
    print(f"{'task':10} {'jobs':>6} {unit:>12}")
    for task, spent in sorted(plan.hours_by("task").items(), key=lambda one: -one[1]):
        print(f"{task:10} {counts[task]:6} {spent:12.2f}")
    print(f"{'all':10} {len(plan.jobs):6} {hours:12.2f}")
    for model, spent in plan.hours_by("model").items():
        print(f"  {model}: {spent:.2f} {unit}")
    print(f"Wall clock, {parallel} at once: {wall / 3600:.1f} h. Disk: up to {disk / 1e9:,.0f} GB.")
    if price is not None:
        print(f"Price: {price * hours:,.0f}")
    source = "earlier runs here" if plan.resources.earlier else "the formula of resources.py"
    print(f"Seconds by {source}: expect a factor of two on a busy or another machine.")
    if on_gpu:
        kind, data = gpus.kind_of(loaded)
        print(f"GPU: {kind}, {data.gib:.0f} GiB")
        shown = {(task, w["model"]): (task, w) for task, w in plan.work}
        for (task, model), one in sorted(shown.items()):
            need, way = plan.resources.memory(*one), plan.resources.way(*one)
            if need.gpu:
                extra = ", blocks recomputed" if way.recompute else ""
                host = need.host / GIB
                print(
                    f"  {task:10} {model:16} x {way.processes}: {need.gpu / GIB:5.1f} GiB each, "
                    f"host {host:.0f} GiB{extra}"
                )
        if problem := driver.unusable():  # jobs may run elsewhere
            print(f"Not on this machine as it is: {problem}")
    last = {"jobs": len(plan.jobs), "hours": hours, "wall_hours": wall / 3600}
    print(json.dumps(last | {"disk_gb": disk / 1e9, "models": plan.hours_by("model")}))
    return 0
