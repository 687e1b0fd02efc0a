"""What a target costs before anything runs (jobs, hours, disk and wall-clock time), and runs of a
target under several seeds, which tables show with means and intervals.

    trimllm plan all --configfile config/paper.yaml --parallel 8
    trimllm seeds table6 --seeds 0 1 2 --cores all
"""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

from trimllm_paper import gpus, invocation
from trimllm_paper.plan import Plan, pending
from trimllm_paper.resources import GIB


def run(
    targets: list[str], configfiles: list[Path], config: list[str], parallel: int | None
) -> int:
    """Print the plan of the jobs of a dry run, each as `trimllm_paper.resources` estimates it, with
    so many cores or GPUs at once; the last line on stdout is JSON."""
    loaded = invocation.checked(configfiles, config)
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
    if on_gpu:
        kind, data = gpus.kind_of(loaded)
        print(f"GPU: {kind}, {data.gib:.0f} GiB")
        for (task, model), one in sorted({(t, w["model"]): (t, w) for t, w in plan.work}.items()):
            need, split = plan.resources.memory(*one), plan.resources.split(*one)
            each = f"{need.gpu / GIB:5.1f} GiB each, host {need.host / GIB:.0f} GiB"
            recomputed = ", blocks recomputed" if split.recompute else ""
            if need.gpu:
                print(f"  {task:10} {model:16} x {split.processes}: {each}{recomputed}")
    last = {"jobs": len(plan.jobs), "hours": hours, "wall_hours": wall, "disk_gb": disk}
    print(json.dumps(last | {"models": by_model}))
    return 0


def seeds(
    target: str, seeds: list[int], configfiles: list[Path], config: list[str], rest: list[str]
) -> int:
    """Run Snakemake (`rest`: its further arguments) under every other seed, then under the first
    one with all the others, which renders the target from all; the first failure ends it.

    The first seed's results are in the configuration's `results`, those of seed S in its folder
    seed_S. A seed sets the calibration documents, the order of documents and the training; the
    tests are the same, so answers are paired by document.
    """
    results = invocation.configuration(configfiles, config).get("results", "results")
    first, *others = dict.fromkeys(seeds)
    folders = {seed: (Path(results) / f"seed_{seed}").as_posix() for seed in others}
    runs = [{"seed": seed, "results": folder} for seed, folder in folders.items()]
    runs.append({"seed": first, "replicates": [*folders.values()]})
    note = "tables, claims and figures pool the seeds; throughput is of seed"
    print(f"note: {note} {first} alone", file=sys.stderr)
    for one in runs:
        changes = [*config, *(f"{key}={json.dumps(value)}" for key, value in one.items())]
        command = invocation.snakemake([target], configfiles, changes, *rest)
        if code := subprocess.run(command).returncode:
            return code
    return 0
