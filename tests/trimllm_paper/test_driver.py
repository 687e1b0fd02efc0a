"""Whether torch can use this machine's GPUs, by their driver."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

import pytest
from drivers import card, nvidia_smi, torch

import trimllm

SOURCE = Path(trimllm.__file__).parents[1]
CU126 = "pip install torch==2.13.0+cu126 --index-url https://download.pytorch.org/whl/cu126"
A100 = card("NVIDIA A100-SXM4-80GB", "8.0")
V100 = card("Tesla V100-SXM2-32GB", "7.0")
K80 = card("Tesla K80", "3.7")
CUDA_13, CUDA_12 = ("2.13.0", "13.0"), ("2.13.0+cu126", "12.6")


def unusable(folder: Path, **variables: str) -> str:
    """The answer in a process of a machine whose programs and torch are a folder's."""
    code = "from trimllm_paper import driver; print(driver.unusable())"
    env = {"PATH": str(folder), "PYTHONPATH": os.pathsep.join([str(folder), str(SOURCE)])}
    words = [sys.executable, "-c", code]
    run = subprocess.run(words, capture_output=True, text=True, env=env | variables)
    assert run.returncode == 0, run.stderr
    return run.stdout.removesuffix("\n")


@pytest.mark.parametrize(
    "cards, release, cuda, built, words",
    [
        ([A100], "535.183.01", "Version: 12.2", CUDA_13, ["driver 535", CU126]),
        ([A100, V100], "580.95.05", "Version: 13.0", CUDA_13, ["V100", "7.0)", CU126]),
        # Drivers of that age do not know the capability.
        ([card("NVIDIA A100-SXM4-80GB")], "470.256.02", "Version: 11.4", CUDA_12, ["driver 525"]),
        ([K80], "580.95.05", "Version: 13.0", CUDA_12, ["Tesla K80"]),
        (
            [A100],
            *("580.95.05", "Version: 13.0", ("2.13.0+cpu", None)),
            ["without CUDA", "torch==2.13.0 --index-url", "device: cpu"],
        ),
        # What torch can use, or of which nothing is known.
        ([A100], "580.65.06", "Version: 13.0", CUDA_13, []),
        ([V100, A100], "580.95.05", "Version: 13.0", CUDA_12, []),
        ([card("NVIDIA Thor", "[N/A]")], "580.00", "Version: 13.0", CUDA_13, []),
        # NVIDIA's package for forward compatibility beside an old driver.
        ([A100], "535.183.01", "UMD Version: 13.3", CUDA_13, []),
    ],
)
def test_what_torch_cannot_use_is_one_line_with_its_remedy(
    tmp_path: Path,
    cards: list[dict[str, str]],
    release: str,
    cuda: str,
    built: tuple[str, str | None],
    words: list[str],
) -> None:
    nvidia_smi(tmp_path, *cards, driver=release, cuda=f"CUDA {cuda}")
    torch(tmp_path, *built)
    found = unusable(tmp_path)
    assert all(word in found for word in words) and "\n" not in found
    assert words or found == "None"


def test_hidden_gpus_and_failing_drivers(tmp_path: Path) -> None:
    torch(tmp_path, *CUDA_13)
    assert unusable(tmp_path) == "None"  # there is no driver
    nvidia_smi(tmp_path, V100, A100)
    for names, refused in ("1", False), ("GPU-00000001", False), ("0,1", True), ("-1", False):
        assert ("V100" in unusable(tmp_path, CUDA_VISIBLE_DEVICES=names)) is refused
    nvidia_smi(tmp_path, failure="Failed to initialize NVML: Driver/library version mismatch")
    found = unusable(tmp_path)
    assert found.startswith("nvidia-smi fails (Failed to initialize NVML: Driver/library version")


def test_the_installed_torch_is_read(tmp_path: Path) -> None:
    nvidia_smi(tmp_path, K80, driver="390.157", cuda="CUDA Version: 9.1")
    assert unusable(tmp_path).startswith(f"torch {importlib.metadata.version('torch')}")
