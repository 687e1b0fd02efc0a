"""What a job says before it does its work."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import sys
from types import SimpleNamespace
from trimllm.base import driver, kernels
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


@pytest.mark.parametrize(
    "rule, device, lacking, methods, node, refused",
    [
        ("full_ft", "auto", "the package triton", ["llm_int8", "awq_int4"], "SLURM_JOB_ID", True),
        ("full_ft", "auto", "the package triton", ["awq_int4"], "PBS_JOBID", True),
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
