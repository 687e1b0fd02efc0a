"""The start of a job with a model: imports of its own, and as a fork of what has imported them.

Prints the median seconds of both, in turn, until the job's script could begin its work, and the
processor seconds that they take; and the same of a job that needs no model.

    python benchmarks/start.py --repeats 7
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from trimllm_paper import forkserver

# What scripts of the workflow do first, and what one that evaluates imports then. Processor time of
# a fork is its own: what the server took is not part of it.
BEGIN = """
import time
from trimllm_paper.job import Job
"""
MODEL = """
from trimllm_paper import forkserver
forkserver.hand_over()
import trimllm
from trimllm.checkpoint import load, weight_bytes
from trimllm.evaluate import evaluate
from trimllm.scanning import scan
from trimllm.train import make_checkpoint
from trimllm_paper.records import Evaluation
"""
END = "print(time.process_time())"


def seconds(script: Path, environment: dict[str, str]) -> tuple[float, float]:
    """Wall-clock and processor seconds of a script; of a fork's asker, too."""
    before, start = os.times(), time.perf_counter()
    run = subprocess.run(
        [sys.executable, str(script)], env=environment, capture_output=True, text=True, check=True
    )
    wall, after = time.perf_counter() - start, os.times()
    asked = after.children_user + after.children_system
    asked -= before.children_user + before.children_system
    forked = forkserver.ADDRESS in environment and "hand_over" in script.read_text()
    return wall, asked + (float(run.stdout) if forked else 0.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7, help="runs of each, in turn (7)")
    args = parser.parse_args()
    alone = dict(os.environ, OMP_NUM_THREADS="1")
    forkserver.start(forkserver.MODELS, {})
    shared = alone | {forkserver.ADDRESS: os.environ[forkserver.ADDRESS]}
    with tempfile.TemporaryDirectory() as room:
        light, heavy = Path(room, "light.py"), Path(room, "heavy.py")
        light.write_text(BEGIN + END)
        heavy.write_text(BEGIN + MODEL + END)
        cases = {
            "imports of its own": (heavy, alone),
            "a fork": (heavy, shared),
            "no model": (light, alone),
        }
        found = {name: [seconds(*case)] for name, case in cases.items()}  # the server imports
        found = {name: [] for name in found}
        for _ in range(args.repeats):
            for name, case in cases.items():
                found[name].append(seconds(*case))
    medians = {
        name: [statistics.median(column) for column in zip(*rows, strict=True)]
        for name, rows in found.items()
    }
    for name, (wall, processor) in medians.items():
        print(f"{name:20} {wall:6.2f} s, {processor:6.2f} s of a processor")
    own, fork = medians["imports of its own"], medians["a fork"]
    print(f"a fork takes {fork[0] / own[0]:.2f} of the time, {fork[1] / own[1]:.2f} of a processor")


if __name__ == "__main__":
    main()
