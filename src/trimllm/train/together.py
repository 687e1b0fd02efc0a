"""From a training job to a checkpoint, in this process or in several that train together.

Several are started by PyTorch's own launcher (torchrun's), one agent in this process, which ends
all of them when one fails.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, Std
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from trimllm.base import files
from trimllm.base.errors import UserError
from trimllm.checkpoint import store
from trimllm.train.job import TrainJob, run
from trimllm.train.team import ONE

# Files in the folder through which processes and the one that started them speak.
JOB, RECORD, ERROR, MODEL = "job.json", "record.json", "error.json", "model"
# Seconds that processes have to end after they were asked to.
GRACE = 10


def make_checkpoint(
    job: TrainJob,
    directory: str | Path,
    *,
    record_name: str,
    provenance: Callable[[], dict[str, Any]],
    seal: Callable[[dict[str, Any]], dict[str, Any]] = files.sealed,
) -> dict[str, Any]:
    """Do a training job and write the checkpoint that comes of it: whole, or not at all.

    Args:
        record_name: file stem of the recipe's record beside the weights.
        provenance: called when the work is done, for manifest.json.
        seal: makes of the recipe's record what is written.

    Returns:
        The recipe's record, sealed: most checkpoints of a chain go, and their records stay.

    Raises:
        UserError: what can be mended, whichever process met it.
        RuntimeError: a process failed in another way; its traceback was printed.
    """
    temporary = files.new_sibling(directory)
    try:
        if job.processes == 1:
            model, tokenizer, record = run(job, torch.device(job.device), ONE)
            store.write(model, tokenizer, temporary, dtype=job.storage_dtype)
        else:
            record = _in_processes(job, temporary)
        record = seal(record)
        store.complete(temporary, directory, {record_name: record}, provenance())
        return record
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _in_processes(job: TrainJob, target: Path) -> dict[str, Any]:
    """Do a job in several processes, which write the weights to `target`; returns its record."""
    store.check_directory(job.checkpoint, verify=True)
    with tempfile.TemporaryDirectory(prefix="trimllm-") as name:
        folder = Path(name)
        (folder / MODEL).symlink_to(target.resolve(), target_is_directory=True)
        files.write_json(folder / JOB, asdict(job))
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=job.processes,
            run_id=folder.name,
            rdzv_backend="c10d",
            # All processes are on this machine: nothing needs to find the name of its network.
            rdzv_endpoint="127.0.0.1:0",
            local_addr="127.0.0.1",
            max_restarts=0,
            shutdown_timeout=GRACE,
            # An interrupt stays Python's own. Processes end with this one in any case.
            signals_to_handle="SIGTERM",
            # What processes print goes where this one prints.
            logs_specs=DefaultLogsSpecs(log_dir=str(folder / "logs"), tee=Std.ALL),
            log_line_prefix_template="",
        )
        command = ("-m", "trimllm.train.worker", str(folder), str(os.getpid()), str(job.threads))
        try:
            elastic_launch(config, sys.executable)(*command)
        except ChildFailedError as error:
            if (folder / ERROR).is_file():
                raise UserError(files.read_json(folder / ERROR)) from None
            rank, failure = error.get_first_failure()
            code = failure.exitcode
            how = f"was killed by signal {-code}" if code < 0 else f"ended with status {code}"
            hint = "; was there enough memory?" if code == -9 else ""
            message = f"training process {rank} of {job.processes} {how}{hint}"
            raise RuntimeError(message) from None
        return files.read_json(folder / RECORD)
