"""Kinds of GPUs, and that no two jobs of a machine get the same one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from trimllm.base.errors import UserError
from trimllm_paper import gpus

CLAIM = """
import sys
from pathlib import Path
from trimllm_paper.gpus import claim
print(",".join(claim(int(sys.argv[2]), Path(sys.argv[1]), wait=0.05)), flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize(
    ("name", "gib", "kind"),
    [
        ("NVIDIA A100-SXM4-80GB", 79.2, "A100-SXM4-80GB"),
        ("NVIDIA A100 80GB PCIe", 80, "A100-PCIe-80GB"),
        ("NVIDIA A100-SXM4-40GB", 39.4, "A100-SXM4-40GB"),
        ("NVIDIA H100 80GB HBM3", 79.6, "H100-SXM5-80GB"),
        ("NVIDIA GeForce RTX 3090", 24, "RTX-3090-24GB"),
        ("NVIDIA GeForce RTX 3090 Ti", 24, None),
        ("NVIDIA RTX A1000", 8, None),
    ],
)
def test_kinds_are_told_apart(name: str, gib: float, kind: str | None) -> None:
    assert gpus.kind_named(name, gib) == kind


def begin(folder: Path, count: int = 1) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", CLAIM, str(folder), str(count)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    env = os.environ | {"CUDA_VISIBLE_DEVICES": "0,1,2,3"}
    return subprocess.Popen(command, text=True, env=env, **pipes)


def test_jobs_at_once_get_different_gpus(tmp_path: Path) -> None:
    """Four jobs on four faked devices; one for two of them waits until two have ended."""
    jobs = [begin(tmp_path) for _ in range(4)]
    try:
        mine = [job.stdout.readline().strip() for job in jobs]
        assert sorted(mine) == ["0", "1", "2", "3"]
        jobs.append(begin(tmp_path, 2))
        jobs[2].kill()
        jobs[3].kill()
        assert jobs[4].stdout.readline().strip() == ",".join(sorted(mine[2:]))
    finally:
        for job in jobs:
            job.kill()
            job.communicate()


def test_more_gpus_than_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5")
    with pytest.raises(UserError, match="needs 4 GPUs, and 2 are visible"):
        gpus.claim(4, tmp_path)
