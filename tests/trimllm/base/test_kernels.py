"""Int4 kernels on GPUs: those available without CUDA's compiler, or what is missing."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from trimllm.base import kernels


@pytest.mark.parametrize(
    "programs, packages, backend, lacks",
    [
        (("nvcc", "ninja"), (), "auto", None),
        (("home/bin/nvcc",), ("ninja",), "auto", None),
        (("gcc",), ("triton",), "triton", None),
        (("nvcc", "gcc"), ("triton",), "triton", None),  # nothing builds with it
        ((), ("triton",), "triton", "a C compiler (cc, gcc)"),
        (("ninja", "gcc"), (), "triton", "CUDA's compiler (nvcc and ninja) or the package triton"),
    ],
)
def test_kernels_by_what_the_machine_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, programs, packages, backend, lacks
) -> None:
    (tmp_path / "home/bin").mkdir(parents=True)
    for name in programs:
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("CUDA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name in packages or None)
    assert kernels.four_bit_backend("gptq", "cuda:0") == backend
    assert kernels.four_bit_lacks("cuda") == lacks
    assert kernels.four_bit_backend("gptq", "cpu") == "auto"
    assert kernels.four_bit_lacks("cpu") is None
