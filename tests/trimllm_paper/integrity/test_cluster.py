"""What a run has to know where it is not alone: queued jobs, words that reach a shell elsewhere."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock, MagicMock

import pytest
import yaml
from configurations import ROOT

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
        ({}, "say cpu or cuda"),
        ({"device": "cuda"}, "say which GPUs they have (A100-SXM4-80GB, "),
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


@pytest.mark.parametrize("failures", [4, 40])
def test_jobs_stay_known_while_slurm_does_not_answer(
    monkeypatch: pytest.MonkeyPatch, failures: int
) -> None:
    """The plugin's own check of its jobs, with the attempts that the profile allows."""
    plugin = pytest.importorskip("snakemake_executor_plugin_slurm")
    profile = yaml.safe_load((ROOT / "workflow/profiles/slurm/config.yaml").read_text())
    answers = iter([*failures * [(None, None)], ({"7": "RUNNING"}, 0.1)])

    async def answer(command: str, logger: Any) -> tuple[Any, Any]:
        return next(answers)

    monkeypatch.setattr(plugin, "query_job_status", answer)
    monkeypatch.setattr(plugin, "get_min_job_age", lambda: None)
    numbers = ("calls", "failures", "total_seconds", "min_seconds", "max_seconds")
    executor = MagicMock(
        run_uuid="run",
        status_rate_limiter=AsyncMock(),
        next_seconds_between_status_checks=40,
        **{f"_status_query_{name}": 0 for name in numbers},
    )
    settings = executor.workflow.executor_settings
    attempts = profile["slurm-status-attempts"]
    settings.configure_mock(status_attempts=attempts, init_seconds_before_status_checks=40)
    executor.get_status_command.return_value = "squeue"
    job = MagicMock(external_jobid="7")

    async def check() -> list[Any]:
        return [one async for one in plugin.Executor.check_active_jobs(executor, [job])]

    assert asyncio.run(check()) == [job]
    executor.report_job_error.assert_not_called()
    executor.report_job_success.assert_not_called()
