"""Whether torch can use the GPUs that are here, by what their driver says before torch is asked."""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
from drivers import card, nvidia_smi, torch

import trimllm
from trimllm.base import driver

SOURCE = Path(trimllm.__file__).parents[1]
INDEX = "--index-url https://download.pytorch.org/whl"
A100 = card("NVIDIA A100-SXM4-80GB", "8.0")
V100 = card("Tesla V100-SXM2-32GB", "7.0")
B200 = card("NVIDIA B200", "10.0")
K80 = card("Tesla K80", "3.7")
# What the head of nvidia-smi says of CUDA, by its driver.
HEADS = {"470": "CUDA Version: 11.4", "525": "CUDA Version: 12.0", "535": "CUDA Version: 12.2"}


def said(folder: Path, expression: str = "driver.unusable()", **variables: str) -> str:
    """What an expression says in a process of a machine whose programs and torch are a folder's."""
    words = [sys.executable, "-c", f"from trimllm.base import driver; print({expression})"]
    env = {"PATH": str(folder), "PYTHONPATH": os.pathsep.join([str(folder), str(SOURCE)])}
    run = subprocess.run(words, capture_output=True, text=True, env=env | variables)
    assert run.returncode == 0, run.stderr
    return run.stdout.removesuffix("\n")


@pytest.mark.parametrize(
    "cards, release, built, words",
    [
        (
            [A100],
            "535.183.01",
            ("2.13.0", "13.0"),
            "torch 2.13.0 is built for CUDA 13.0, which needs driver 580 or newer, and this "
            "machine has 535.183.01; update that, or pip install torch==2.13.0+cu129 ",
        ),
        # Drivers of that age do not tell the capability.
        (
            [card("NVIDIA A100-SXM4-80GB")],
            "470.256.02",
            ("2.13.0+cu126", "12.6"),
            "needs driver 525 or newer, and this machine has 470.256.02; update that, or install "
            "driver 525",
        ),
        (
            [A100],
            "580.95.05",
            ("2.13.0+cpu", None),
            "torch 2.13.0+cpu is built without CUDA, and this machine has NVIDIA A100-SXM4-80GB "
            f"(driver 580.95.05); pip install torch==2.13.0+cu130 {INDEX}/cu130, or say "
            "device: cpu",
        ),
        (
            [V100, V100],
            "580.95.05",
            ("2.13.0", "13.0"),
            "torch 2.13.0 is built for CUDA 13.0, which does not serve Tesla V100-SXM2-32GB "
            f"(compute capability 7.0); pip install torch==2.13.0+cu126 {INDEX}/cu126",
        ),
        ([V100], "580.95.05", ("2.13.0+cu129", "12.9"), "which does not serve Tesla V100"),
        ([A100, V100], "580.95.05", ("2.13.0", "13.0"), "serve Tesla V100-SXM2-32GB (compute"),
        (
            [B200],
            "580.95.05",
            ("2.13.0+cu126", "12.6"),
            "does not serve NVIDIA B200 (compute capability 10.0); pip install "
            f"torch==2.13.0+cu130 {INDEX}/cu130",
        ),
        (
            [K80],
            "580.95.05",
            ("2.13.0+cu126", "12.6"),
            "does not serve Tesla K80 (compute capability 3.7); no one build serves all that",
        ),
        ([V100, B200], "580.95.05", ("2.13.0", "13.0"), "no one build serves all that are here"),
    ],
)
def test_what_torch_cannot_use_is_one_line_with_its_remedy(
    tmp_path: Path,
    cards: list[dict[str, str]],
    release: str,
    built: tuple[str, str | None],
    words: str,
) -> None:
    head = HEADS.get(release.partition(".")[0], "CUDA Version: 13.0")
    nvidia_smi(tmp_path, *cards, driver=release, cuda=head)
    torch(tmp_path, *built)
    found = said(tmp_path)
    assert words in found and "\n" not in found


@pytest.mark.parametrize(
    "cards, release, built",
    [
        ([A100], "580.65.06", ("2.13.0", "13.0")),
        ([B200], "615.71.09", ("2.13.0+cu132", "13.2")),
        ([card("NVIDIA L4", "8.9")], "525.60.13", ("2.13.0+cu126", "12.6")),
        ([V100, A100], "580.95.05", ("2.13.0+cu126", "12.6")),
        # Nobody here knows what these ask for.
        ([A100], "400.00", ("3.0.0", "14.0")),
        ([card("NVIDIA Thor", "[N/A]")], "580.00", ("2.13.0", "13.0")),
        ([V100], "535.183.01", ("2.9.0+cu128", "12.8")),
    ],
)
def test_what_torch_can_use_or_nobody_knows_passes(
    tmp_path: Path, cards: list[dict[str, str]], release: str, built: tuple[str, str]
) -> None:
    head = HEADS.get(release.partition(".")[0], "CUDA Version: 13.0")
    nvidia_smi(tmp_path, *cards, driver=release, cuda=head)
    torch(tmp_path, *built)
    assert said(tmp_path) == "None"


@pytest.mark.parametrize("head", ["CUDA Version: 13.0", "CUDA UMD Version: 13.3"])
def test_an_old_driver_does_with_the_package_for_forward_compatibility(
    tmp_path: Path, head: str
) -> None:
    nvidia_smi(tmp_path, A100, driver="535.183.01", cuda=head)
    torch(tmp_path, "2.13.0", "13.0")
    assert said(tmp_path) == "None"


def test_gpus_that_are_hidden_need_not_be_served(tmp_path: Path) -> None:
    nvidia_smi(tmp_path, V100, A100)
    torch(tmp_path, "2.13.0", "13.0")
    for shown, refused in (("1", False), ("GPU-00000001", False), ("0,1", True), ("-1", False)):
        assert ("V100" in said(tmp_path, CUDA_VISIBLE_DEVICES=shown)) is refused
    names = "[one['name'] for one in driver.ask('name')]"
    assert said(tmp_path, names, CUDA_VISIBLE_DEVICES="1") == f"['{A100['name']}']"
    assert said(tmp_path, names, CUDA_VISIBLE_DEVICES="MIG-1") == "[]"
    assert said(tmp_path, "driver.ask('unheard_of')") == "[]"


def test_a_driver_that_fails_says_why_and_one_that_is_not_there_nothing(tmp_path: Path) -> None:
    torch(tmp_path, "2.13.0", "13.0")
    assert said(tmp_path) == "None"
    nvidia_smi(tmp_path, failure="Failed to initialize NVML: Driver/library version mismatch")
    found = said(tmp_path)
    assert found.startswith("nvidia-smi fails (Failed to initialize NVML: Driver/library version")


def test_the_torch_that_is_installed_is_read_and_not_imported() -> None:
    version, cuda = driver._torch()
    assert version == importlib.metadata.version("torch")
    assert cuda is None or cuda[0].isdigit()


def test_the_table_is_what_torch_knows_of_its_own_builds() -> None:
    """The pinned release tells for which capabilities its builds for x86-64 have code."""
    source = Path(importlib.util.find_spec("torch").origin).parent / "cuda/__init__.py"
    (told,) = (
        ast.literal_eval(node.value)
        for node in ast.parse(source.read_text()).body
        if isinstance(node, ast.AnnAssign) and node.target.id == "PYTORCH_RELEASES_CODE_CC"
    )
    assert {*driver.PUBLISHED} <= told.keys()
    for cuda, by_host in told.items():
        build, codes = driver._build(cuda), by_host["x86_64"]
        assert build.least == divmod(min(codes), 10)
        assert (build.greatest or 12) == max(codes) // 10
