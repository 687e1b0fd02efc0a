"""What two cores train: one job by one thread or two, two jobs, two processes that share a job.

Tokens a second of the passes after the first, of all jobs together, over those of one job with one
thread. Jobs are what the workflow runs, from files to a checkpoint, each in a process of its own.

    python benchmarks/threads.py
"""

from __future__ import annotations

import tempfile
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from common import arguments, report

from trimllm.base import files
from trimllm.train.jobs import TrainJob, make_checkpoint

# Jobs at once, threads of a process, processes of a job.
WAYS = {
    "one job, one thread": (1, 1, 1),
    "one job, two threads": (1, 2, 1),
    "one job, two processes": (1, 1, 2),
    "two jobs, one thread each": (2, 1, 1),
}


def work(job: TrainJob, folder: str) -> float:
    """Tokens a second of a job's passes but the first."""
    torch.set_num_threads(job.threads)
    record = make_checkpoint(job, folder, record_name="training", provenance=dict)
    passes = record["passes"][1:]
    return sum(one["tokens"] for one in passes) / sum(one["seconds"] for one in passes)


def main() -> None:
    args = arguments(
        __doc__,
        count={"type": int, "default": 128, "help": "documents of a pass (128)"},
        passes={"type": int, "default": 2, "help": "passes after a first one (2)"},
        size={"type": int, "default": 16, "help": "documents a step (16)"},
    )
    rows: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        documents = Path(name, "train.jsonl")
        lines = Path(args.documents).read_text(encoding="utf-8").splitlines()[: args.count]
        files.write_text(documents, "\n".join(lines) + "\n")
        settings: dict[str, Any] = {"learning_rate": 1e-6, "batch_size": args.size}
        told = {"epochs": 1 + args.passes, "least": 1}
        job = partial(TrainJob, args.model, str(documents), settings)
        for way, (jobs, threads, processes) in WAYS.items():
            one = job(arguments=told, threads=threads, processes=processes)
            with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
                into = [str(Path(name, f"{len(rows)}_{at}")) for at in range(jobs)]
                rows[way] = sum(pool.map(partial(work, one), into))
            share = rows[way] / next(iter(rows.values()))
            print(f"{way:28} {rows[way]:5.0f} tokens/s, {share:.2f} times the first", flush=True)
    report(benchmark="threads", rows=rows)


if __name__ == "__main__":
    main()
