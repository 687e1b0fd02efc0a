"""What is known of a machine: the GPUs that jobs may use."""

from __future__ import annotations

from pathlib import Path

import pytest

from trimllm_paper import hardware


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
