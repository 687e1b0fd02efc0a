"""What a job says before it does its work."""

from __future__ import annotations

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
    "rule, device, lacking, methods, warned",
    [
        ("full_ft", "auto", "the package triton", ["llm_int8", "awq_int4"], True),
        ("full_ft", "auto", "the package triton", ["llm_int8"], False),
        ("full_ft", "auto", "", ["awq_int4"], False),
        ("full_ft", "cpu", "the package triton", ["awq_int4"], False),
        ("sparse_ft", "auto", "the package triton", ["awq_int4"], False),
    ],
)
def test_missing_kernels_are_told_before_training(
    tmp_path: Path, rule: str, device: str, lacking: str, methods: list[str], warned: bool
) -> None:
    """Also on a cluster's node, of which who submits knows nothing."""
    words = [sys.executable, "-c", SCRIPT, rule, device, lacking, *methods]
    run = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True)
    said = (
        f"[{rule} model] warning: awq_int4 would fail on this machine, where kernels "
        f"need {lacking}; install that, or leave them out of compress.methods\n"
    )
    assert run.stderr == (said if warned else "")
    log = (tmp_path / "logs/job.log").read_text()
    assert log.endswith("trained\n") and ("warning" in log) == warned
