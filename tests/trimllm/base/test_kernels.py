"""Int4 kernels on GPUs: those to be had without CUDA's compiler, or what is missing."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest
from transformers.quantizers.auto import AutoQuantizationConfig

from trimllm.base import kernels


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A machine with these programs and packages alone."""
    for name in ("CC", "CUDA_HOME", "CUDA_PATH"):
        monkeypatch.delenv(name, raising=False)

    def given(*programs: str, packages: tuple[str, ...] = ()) -> None:
        for name in programs:
            (tmp_path / name).write_text("#!/bin/sh\n")
            (tmp_path / name).chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.setattr(
            importlib.util, "find_spec", lambda name: name if name in packages else None
        )

    return given


@pytest.mark.parametrize(
    "programs, packages, backend, lacks",
    [
        (("nvcc", "ninja"), (), "auto", None),
        (("nvcc",), ("ninja",), "auto", None),
        (("gcc",), ("triton",), "triton", None),
        (("nvcc", "gcc"), ("triton",), "triton", None),  # nothing builds with it
        ((), ("triton",), "triton", "a C compiler (cc, gcc, clang)"),
        (("ninja", "gcc"), (), "triton", "CUDA's compiler (nvcc and ninja) or the package triton"),
    ],
)
def test_kernels_by_what_the_machine_has(tools, programs, packages, backend, lacks) -> None:
    tools(*programs, packages=packages)
    assert kernels.four_bit_backend("gptq", "cuda:0") == backend
    assert kernels.four_bit_lacks("cuda") == lacks
    assert kernels.four_bit_backend("gptq", "cpu") == "auto"
    assert kernels.four_bit_lacks("cpu") is None


def test_cuda_may_be_named_by_its_home(tools, tmp_path: Path, monkeypatch) -> None:
    tools("ninja")
    (tmp_path / "cuda/bin").mkdir(parents=True)
    (tmp_path / "cuda/bin/nvcc").touch()
    monkeypatch.setenv("CUDA_HOME", str(tmp_path / "cuda"))
    assert kernels.four_bit_backend("awq", "cuda") == "auto"


@pytest.mark.parametrize("method", kernels.FOUR_BIT)
def test_the_engine_knows_these_kernels(method: str) -> None:
    """Checkpoints with zero codes of their own are read by them, on CUDA."""
    told = {"quant_method": method, "bits": 4, "group_size": 64, "sym": False}
    found = AutoQuantizationConfig.from_dict(told | {"backend": kernels.TRITON[method]})
    assert found.backend == kernels.TRITON[method]
    kernels.prepare()
    from gptqmodel.models._const import DEVICE
    from gptqmodel.nn_modules.qlinear import gemm_awq_triton, tritonv2
    from gptqmodel.utils.backend import normalize_backend

    module = {"awq": gemm_awq_triton, "gptq": tritonv2}[method]
    name = normalize_backend(kernels.TRITON[method], quant_method=method)
    classes = [one for one in vars(module).values() if name in vars_of(one)]
    assert classes and all(DEVICE.CUDA in one.SUPPORTS_DEVICES for one in classes)
    assert all(False in one.SUPPORTS_SYM and 64 in one.SUPPORTS_GROUP_SIZE for one in classes)


def vars_of(one: object) -> list[object]:
    """Backends that a class of the engine says it is."""
    return vars(one).get("SUPPORTS_BACKENDS", []) if isinstance(one, type) else []
