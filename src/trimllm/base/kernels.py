"""Kernels of compressed weights: those that need no compiler, and the types they compute in."""

from __future__ import annotations

import importlib.util
import logging
import os
import re
import shutil
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

FOUR_BIT = ("awq", "gptq")
TRITON = {"awq": "gemm_triton", "gptq": "triton"}
"""gptqmodel's int4 kernels for GPUs that CUDA's compiler is not needed for, by format."""


def four_bit_dtype(device: str) -> str:
    """What int4 kernels compute in: PyTorch's own on a CPU bfloat16, those of GPUs float16."""
    return "bfloat16" if device.startswith("cpu") else "float16"


def _compiles_cuda() -> bool:
    """Whether CUDA's compiler is here, and what builds extensions with it."""
    homes = [os.environ.get(name) for name in ("CUDA_HOME", "CUDA_PATH")]
    nvcc = [Path(home, "bin", "nvcc").is_file() for home in homes if home]
    ninja = shutil.which("ninja") or importlib.util.find_spec("ninja")
    return bool((any(nvcc) or shutil.which("nvcc")) and ninja)


def four_bit_backend(method: str, device: str) -> str:
    """gptqmodel's name of the kernels that packed weights run on: "auto", its own choice, on a CPU
    and where the fastest ones for GPUs (Marlin, Machete), which it compiles when weights are
    loaded, can be compiled; else those of Triton, which brings its own compiler.

    Args:
        method: "awq" or "gptq".
        device: "cpu", "cuda", "cuda:0".
    """
    return TRITON[method] if device.startswith("cuda") and not _compiles_cuda() else "auto"


def four_bit_lacks(device: str) -> str | None:
    """What int4 kernels lack on this machine, in words, or None."""
    if not device.startswith("cuda") or _compiles_cuda():
        return None
    if importlib.util.find_spec("triton") is None:
        return "CUDA's compiler (nvcc and ninja) or the package triton"
    # Triton builds the few lines that start its kernels with the system's C compiler.
    names = (os.environ.get("CC"), "cc", "gcc", "clang")
    return None if any(map(shutil.which, filter(None, names))) else "a C compiler (cc, gcc, clang)"


def method_of(config: dict[str, Any]) -> str | None:
    """quant_method of a checkpoint's config.json, or None for dense weights."""
    return (config.get("quantization_config") or {}).get("quant_method")


def is_quantized(model: Any) -> bool:
    """Whether a model's weights are in a packed format, whose type cannot be changed."""
    return getattr(model, "quantization_method", None) is not None


def prepare() -> None:
    """Settings of gptqmodel, which holds the int4 kernels; before it is imported."""
    # With one worker its thread pool refuses to start.
    os.environ.setdefault("GPTQMODEL_CPU_WORKERS", "2")
    # It prints a banner and every step; what goes wrong is raised.
    os.environ.setdefault("LOGBAR_LEVEL", "ERROR")
    logging.getLogger("torch.utils._pytree").setLevel(logging.ERROR)
    if "pcre" not in sys.modules and importlib.util.find_spec("pcre") is None:
        # gptqmodel imports PyPcre, which has no wheels; Python's own module serves its patterns.
        stand_in = sys.modules["pcre"] = ModuleType("pcre")
        stand_in.__spec__ = ModuleSpec("pcre", None)
        flags = SimpleNamespace(CASELESS=re.I, MULTILINE=re.M)
        vars(stand_in).update({name: getattr(re, name) for name in re.__all__}, Flag=flags)
