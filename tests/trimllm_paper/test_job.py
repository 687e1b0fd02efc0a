"""What a job says before it does its work."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from models import random_documents

from trimllm.data.document import write_documents
from trimllm.train.batching import documents_of_epoch
from trimllm_paper.job import system_fault

SCRIPT = """
import sys
from types import SimpleNamespace
from trimllm.base import kernels
from trimllm_paper import driver
from trimllm_paper.job import Job

rule, device, lacking, *methods = sys.argv[1:]
driver.unusable = lambda: None
kernels.four_bit_lacks = lambda device: lacking or None
config = {"results": "results", "mirror": None, "models": {}}
config |= {"compute": {"device": device}, "compress": {"methods": methods}}
snakemake = SimpleNamespace(
    rule=rule, config=config, threads=1, wildcards={"model": "tiny"}, params={}, input={},
    output=["results/made.json"], log=["logs/job.log"], resources={"gpu": 1},
)
with Job(snakemake) as job:
    print("trained")
"""


POOL = """
import errno
import json
from types import SimpleNamespace
from snakemake.iocontainers import InputFiles
from trimllm_paper.job import Job

config = {"results": "results", "mirror": None, "models": {}, "compute": {"device": "cpu"}}
seen = []
for pool in (None, 3, 99):
    how = {"settings": {"seed": 7}} | ({"pool": pool} if pool else {})
    files = InputFiles(fromdict={"train": "train.jsonl"})
    snakemake = SimpleNamespace(
        rule="trim", config=config, threads=1, wildcards={}, params={"how": how}, input=files,
        output=["results/made.json"], log=["logs/job.log"], resources={},
    )
    with Job(snakemake) as job:
        file = job.training_file()
        seen.append((file, open(file).read()))
json.dump(seen, open("seen.json", "w"))
"""


def test_a_pool_is_the_first_documents_of_the_order(tmp_path: Path) -> None:
    """Those that a first epoch over as many would see; of too few all; gone with the job."""
    every = random_documents(8)
    write_documents(tmp_path / "train.jsonl", every)
    subprocess.run([sys.executable, "-c", POOL], cwd=tmp_path, check=True, timeout=300)
    (plain, whole), (few, three), (many, all_of_them) = json.loads(
        (tmp_path / "seen.json").read_text()
    )
    assert plain == "train.jsonl" and whole == (tmp_path / plain).read_text()
    for text, count in ((three, 3), (all_of_them, 8)):
        write_documents(tmp_path / "first.jsonl", documents_of_epoch(every, 0, count, seed=7))
        assert text == (tmp_path / "first.jsonl").read_text()
    assert not Path(few).exists() and not Path(many).exists()


@pytest.mark.parametrize(
    "rule, device, lacking, methods, node, refused",
    [
        ("full_ft", "auto", "the package triton", ["llm_int8", "awq_int4"], "SLURM_JOB_ID", True),
        # Where it was started, a run has looked at what it does.
        ("full_ft", "auto", "the package triton", ["awq_int4"], "", False),
        ("full_ft", "auto", "the package triton", ["llm_int8"], "JOB_ID", False),
        ("full_ft", "auto", "", ["awq_int4"], "JOB_ID", False),
        ("full_ft", "cpu", "the package triton", ["awq_int4"], "JOB_ID", False),
        ("sparse_ft", "auto", "the package triton", ["awq_int4"], "JOB_ID", False),
    ],
)
def test_a_node_without_kernels_ends_before_training(
    tmp_path: Path,
    rule: str,
    device: str,
    lacking: str,
    methods: list[str],
    node: str,
    refused: bool,
) -> None:
    """Of which who submits knows nothing."""
    words = [sys.executable, "-c", SCRIPT, rule, device, lacking, *methods]
    env = {key: value for key, value in os.environ.items() if not key.endswith(("JOB_ID", "JOBID"))}
    env |= {node: "7"} if node else {}
    run = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, env=env)
    log = (tmp_path / "logs/job.log").read_text()
    if not refused:
        assert (run.returncode, run.stderr) == (0, "") and log == "trained\n"
        return
    (line,) = run.stderr.splitlines()
    said = f"error: awq_int4 would fail on this machine, where kernels need {lacking}; install that"
    assert run.returncode == 1 and line.startswith(f"[{rule} model] {said}")
    assert log == f"{line.partition('] ')[2]}\n"


@pytest.mark.parametrize(
    "error, said",
    [
        (OSError(errno.EDQUOT, "over quota"), "no space left"),
        (RuntimeError("I/O error: No space left on device (os error 28)"), "no space left"),
        (OSError(errno.ESTALE, "Stale file handle", "a", None, "b"), "the file system refused it"),
        (PermissionError(errno.EACCES, "Permission denied", "a"), "the file system refused it"),
        (OSError(errno.EIO, "Input/output error"), None),  # of which file, nothing says
        (FileExistsError(errno.EEXIST, "File exists", "a"), None),
        (ValueError("shape mismatch"), None),
    ],
)
def test_what_a_file_system_refuses_is_one_line(error: Exception, said: str | None) -> None:
    assert said is None if (fault := system_fault(error)) is None else fault.startswith(said)
