"""What is known of a machine: GPUs are told apart by whole words."""

from __future__ import annotations

from pathlib import Path

import pytest

from trimllm_paper import hardware


@pytest.mark.parametrize(
    "name, kind",
    [
        ("NVIDIA A100-SXM4-80GB", "a100"),
        ("NVIDIA A100 80GB PCIe", "a100"),
        ("nvidia-a100-sxm4-80gb", "a100"),
        ("a100", "a100"),
        ("Tesla V100-SXM2-16GB", "v100"),
        ("NVIDIA GeForce RTX 3090", "rtx3090"),
        ("geforce-rtx-3090", "rtx3090"),
        ("rtx3090", "rtx3090"),
        ("NVIDIA RTX A1000", None),
        ("rtx-a1000-laptop-gpu", None),
        ("NVIDIA GeForce RTX 3090 Ti", None),
        ("geforce-rtx-3090-ti", None),
        ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", None),
        ("NVIDIA A1000", None),
        ("NVIDIA H100 80GB HBM3", None),
        ("cpu-amd-epyc", None),
        ("", None),
    ],
)
def test_the_papers_gpus_are_known_by_whole_words(name: str, kind: str | None) -> None:
    assert hardware.gpu_kind(name) == kind


def test_gpus_that_jobs_may_not_see_do_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 81559\necho 40960\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert hardware.gpu_memory_gib() == [pytest.approx(79.6, abs=0.1), 40]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert len(hardware.gpu_memory_gib()) == 1
    tool.write_text("#!/bin/sh\nexit 9\n")
    assert hardware.gpu_memory_gib() == []
