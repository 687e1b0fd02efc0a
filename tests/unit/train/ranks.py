"""Run training jobs as one of several processes: `ranks.py FOLDER RANK SIZE`.

FOLDER/jobs.json holds the jobs by name; the first process writes each result as a checkpoint
FOLDER/NAME with its record, and FOLDER/scans.json holds what every process scanned.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist

from trimllm import checkpoint, files
from trimllm.train.jobs import TrainJob, run
from trimllm.train.parallel import Sharded


def main(folder: Path, rank: int, size: int) -> None:
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    dist.init_process_group(
        "gloo", init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=size
    )
    decisions = {}
    for name, content in files.read_json(folder / "jobs.json").items():
        job = TrainJob(**content)
        team = Sharded(torch.device("cpu"), job.offload)
        model, tokenizer, record = run(job, torch.device("cpu"), team)
        held = sum(p.to_local().numel() for p in model.parameters())
        record["share"] = team.every(held)
        decisions[name] = {key: record.get(key) for key in ("scan", "units_dropped")}
        if (decisions[name]["scan"] or {}).get("seconds"):
            decisions[name]["scan"].pop("seconds")
        whole = team.unwrap(model, torch.float32)
        if whole is not None:
            checkpoint.save(whole, tokenizer, folder / name, record={"record": record})
    files.write_json(folder / f"decisions-{rank}.json", decisions)
    dist.barrier()
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
