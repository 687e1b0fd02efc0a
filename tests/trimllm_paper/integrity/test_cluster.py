"""What a run that submits its jobs may not have in its configuration."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from trimllm_paper.config.models import Compute
from trimllm_paper.integrity.cluster import unfit_for_cluster


@pytest.mark.parametrize(
    "word, safe",
    [
        ('models={"a": {"label": "$(touch hacked) `touch hacked` ; | & # *"}}', True),
        ("results=it's $(touch hacked)", False),
        ("results=a\\nb", False),
    ],
)
def test_no_word_of_the_command_line_runs_on_a_node(tmp_path: Path, word: str, safe: bool) -> None:
    assert (unfit_for_cluster(Compute(device="cpu"), [word]) is None) == safe
    # What Snakemake makes of it in the command line of a job.
    shell = subprocess.run(
        ["sh", "-c", f"printf '%s' {word!r}"], cwd=tmp_path, capture_output=True, text=True
    )
    assert not safe or (shell.stdout == word and not any(tmp_path.iterdir()))


@pytest.mark.parametrize(
    "compute, problem",
    [
        ({}, "name cpu or cuda"),
        ({"device": "cuda", "processes": {"trim": 1}}, "compute.gpu: "),
        ({"device": "cuda", "processes": 4}, None),
        ({"device": "cuda", "gpu": "A100-PCIe-40GB"}, None),
        ({"device": "cpu"}, None),
    ],
)
def test_what_the_submitting_machine_cannot_know(
    compute: dict[str, Any], problem: str | None
) -> None:
    line = unfit_for_cluster(Compute(**compute), [])
    assert line is None if problem is None else problem in str(line)
