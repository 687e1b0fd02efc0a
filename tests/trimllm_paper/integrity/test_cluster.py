"""What a run has to know where it is not alone: queued jobs, words that reach a shell elsewhere."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from trimllm_paper.config.models import Compute
from trimllm_paper.integrity import cluster, locks


@pytest.mark.parametrize(
    "word, safe",
    [
        ("seed=1", True),
        ('models={"a": {"label": "$(touch hacked) `touch hacked` ; | & # *"}}', True),
        ("results=it's $(touch hacked)", False),
        ("results=a\\nb", False),
        ("results=a\nb", False),
        ("results=\"'$(touch hacked)'\"", False),
    ],
)
def test_what_jobs_of_a_cluster_are_told_runs_nothing(
    tmp_path: Path, word: str, safe: bool
) -> None:
    assert (cluster.unfit_for_cluster(Compute(device="cpu"), [word]) is None) == safe
    # What Snakemake makes of it in the command line of a job.
    shell = subprocess.run(
        ["sh", "-c", f"printf '%s' {word!r}"], cwd=tmp_path, capture_output=True, text=True
    )
    assert not safe or (shell.stdout == word and not any(tmp_path.iterdir()))


@pytest.mark.parametrize(
    "compute, said",
    [
        ({}, "name cpu or cuda"),
        ({"device": "cuda"}, "name the nodes' GPUs (A100-SXM4-80GB, "),
        ({"device": "cuda", "processes": {"trim": 1}}, "compute.gpu"),
        ({"device": "cuda", "processes": 4}, None),
        ({"device": "cuda", "gpu": "A100-PCIe-40GB"}, None),
        ({"device": "cpu"}, None),
    ],
)
def test_what_the_machine_that_submits_cannot_know_is_told(
    compute: dict[str, Any], said: str | None
) -> None:
    problem = cluster.unfit_for_cluster(Compute(**compute), [])
    assert problem is None if said is None else said in str(problem)


def test_jobs_that_were_submitted_from_here_are_at_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = tmp_path / "bin/squeue"
    tool.parent.mkdir()
    rows = (f"7|RUNNING|{tmp_path}|rule_trim", f"8|PENDING|{tmp_path}|rule_own", "9|RUNNING|/|rule")
    tool.write_text("#!/bin/sh\n" + "".join(f"echo '{row}'\n" for row in rows))
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:/usr/bin:/bin")
    monkeypatch.setenv("SLURM_JOB_ID", "8")
    assert cluster.at_work(tmp_path, tmp_path) == ["Slurm job 7 (running: rule_trim)"]
    (tmp_path / locks.FOLDER).mkdir()
    (tmp_path / locks.FOLDER / "left").touch()  # by a job that was killed
    assert len(cluster.at_work(tmp_path, tmp_path)) == 1
    tool.write_text("#!/bin/sh\nexit 1\n")
    assert cluster.at_work(tmp_path, tmp_path) == []
