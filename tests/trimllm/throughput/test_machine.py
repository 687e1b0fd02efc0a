"""Names of machines."""

from __future__ import annotations

from pathlib import Path

import pytest

from trimllm.base.precision import has_bfloat16
from trimllm.throughput import machine


@pytest.mark.parametrize(
    "name, device, slug",
    [
        ("NVIDIA A100-SXM4-80GB", "cuda", "a100"),
        ("NVIDIA A100 80GB PCIe", "cuda", "a100"),
        ("NVIDIA H100 80GB HBM3", "cuda", "h100"),
        ("Tesla V100-SXM2-16GB", "cuda", "v100"),
        ("NVIDIA GeForce RTX 3090", "cuda", "rtx3090"),
        ("NVIDIA GeForce RTX 3090 Ti", "cuda", "rtx3090-ti"),
        ("NVIDIA RTX A1000 Laptop GPU", "cuda", "rtx-a1000-laptop-gpu"),
        ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", "cuda", "a100-mig-1g"),
        ("AMD EPYC 7763 64-Core Processor", "cpu", "cpu-amd-epyc-7763-64-core"),
        ("Intel(R) Xeon(R) CPU E5-2680 v4 @ 2.40GHz", "cpu", "cpu-intel-xeon-e5-2680-v4"),
        ("", "cpu", "cpu-unnamed"),
    ],
)
def test_slug(name: str, device: str, slug: str) -> None:
    assert machine.slug(name, device) == slug


def test_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine.this_machine("cpu").startswith("cpu-")
    assert machine.fast_dtype("cuda") == "float16"
    assert (machine.fast_dtype("cpu") == "bfloat16") == has_bfloat16("cpu")
    # The GPU is the first visible one.
    cards = "0, GPU-0, Tesla V100-SXM2-16GB\n1, GPU-1, NVIDIA A100-SXM4-80GB"
    (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\necho '{cards}'\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert machine.this_machine("cuda") == "a100"
