"""Int4 kernels on GPUs: with CUDA's compiler, and without it."""

import importlib.util

import pytest

from trimllm.base import kernels


@pytest.mark.parametrize(
    "programs, packages, backend",
    [
        (("nvcc", "ninja"), (), "auto"),
        (("home/bin/nvcc",), ("ninja",), "auto"),
        (("nvcc", "gcc"), ("triton",), "triton"),  # nothing builds with it
    ],
)
def test_kernels_by_what_the_machine_has(tmp_path, monkeypatch, programs, packages, backend):
    (tmp_path / "home/bin").mkdir(parents=True)
    for name in programs:
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("CUDA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name in packages or None)
    assert kernels.four_bit_backend("gptq", "cuda:0") == backend
    assert kernels.four_bit_backend("gptq", "cpu") == "auto"
