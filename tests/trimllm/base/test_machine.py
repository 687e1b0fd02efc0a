"""Names of machines, and facts about this one."""

import psutil
import pytest
import torch

from trimllm.base import machine


@pytest.mark.parametrize("limit, expected", [("max", None), ("1048576", 1 << 20), ("", None)])
def test_a_container_has_the_memory_of_its_limit(tmp_path, monkeypatch, limit, expected):
    (tmp_path / "memory.max").write_text(f"{limit}\n")
    monkeypatch.setattr(machine, "CGROUP_LIMIT", tmp_path / "memory.max")
    assert machine.hardware()["memory_bytes"] == (expected or psutil.virtual_memory().total)


@pytest.mark.parametrize(
    "name, device, slug",
    [
        ("NVIDIA GeForce RTX 3090 Ti", "cuda", "rtx3090-ti"),
        ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", "cuda", "a100-mig-1g"),
        ("AMD EPYC 7763 64-Core Processor", "cpu", "cpu-amd-epyc-7763-64-core"),
        ("Intel(R) Xeon(R) CPU E5-2680 v4 @ 2.40GHz", "cpu", "cpu-intel-xeon-e5-2680-v4"),
        ("", "cpu", "cpu-unnamed"),
    ],
)
def test_slug(name, device, slug):
    assert machine.slug(name, device) == slug


def test_this_machine(tmp_path, monkeypatch):
    units = torch.cpu.get_capabilities()
    has_units = any(units.get(name) for name in ("avx512_bf16", "amx_bf16"))
    assert machine.cpu_has_bfloat16() == has_units
    # The GPU is the first visible one.
    cards = "0, GPU-0, Tesla V100-SXM2-16GB\n1, GPU-1, NVIDIA A100-SXM4-80GB"
    (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\necho '{cards}'\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert machine.this_machine("cuda") == "a100"
