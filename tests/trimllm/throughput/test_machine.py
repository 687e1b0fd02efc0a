"""Names of machines, and their state."""

from __future__ import annotations

from pathlib import Path

import pytest
from drivers import card, nvidia_smi

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


def test_this_machine_and_its_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert machine.this_machine("cpu").startswith("cpu-")
    assert len(machine.state("cpu")["load_average"]) == 3
    assert machine.fast_dtype("cuda") == "float16"
    assert (machine.fast_dtype("cpu") == "bfloat16") == has_bfloat16("cpu")
    # The GPU is the first visible one.
    clocks = {"clocks.sm": "1410 MHz", "clocks.mem": "9 MHz"}
    more = {**clocks, "temperature.gpu": "31", "power.limit": "[N/A]"}
    cards = card("Tesla V100-SXM2-16GB", **more), card("NVIDIA A100-SXM4-80GB", **more)
    nvidia_smi(tmp_path, *cards)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert machine.this_machine("cuda") == "a100"
    assert machine.state("cuda")["gpu"]["clocks.sm"] == "1410 MHz"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert "gpu" not in machine.state("cuda")
