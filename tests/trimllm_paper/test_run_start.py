"""What a run that submits its jobs may not have in its configuration."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from trimllm.base.errors import UserError
from trimllm_paper import run_start
from trimllm_paper.config.models import Compute


def problem_of(words: list[str], **compute: Any) -> str:
    try:
        run_start.check_cluster(Compute(**compute), words)
    except UserError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    "word, safe",
    [
        ('models={"a": {"label": "$(touch hacked) `touch hacked` ; | & # *"}}', True),
        ("results=it's $(touch hacked)", False),
        ("results=a\\nb", False),
    ],
)
def test_no_word_of_the_command_line_runs_on_a_node(tmp_path: Path, word: str, safe: bool) -> None:
    assert (problem_of([word], device="cpu") == "") == safe
    # What Snakemake makes of it in the command line of a job.
    shell = subprocess.run(
        ["sh", "-c", f"printf '%s' {word!r}"], cwd=tmp_path, capture_output=True, text=True
    )
    assert not safe or (shell.stdout == word and not any(tmp_path.iterdir()))


@pytest.mark.parametrize(
    "compute, problem",
    [
        ({}, "name cpu or cuda"),
        ({"device": "cuda"}, "compute.gpu: "),
        ({"device": "cuda", "processes": 4}, None),
        ({"device": "cuda", "gpu": "A100-PCIe-40GB"}, None),
        ({"device": "cpu"}, None),
    ],
)
def test_what_the_submitting_machine_cannot_know(
    compute: dict[str, Any], problem: str | None
) -> None:
    line = problem_of([], **compute)
    assert (problem or "") in line and bool(problem) == bool(line)
