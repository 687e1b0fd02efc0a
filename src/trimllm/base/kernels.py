"""Kernels of compressed weights, and which of them need no compiler."""

import importlib.util
import logging
import os
import re
import shutil
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

TRITON = {"awq": "gemm_triton", "gptq": "triton"}
"""gptqmodel's int4 GPU kernels that need no CUDA compiler, by format."""


def _compiles_cuda() -> bool:
    """Whether nvcc and ninja are installed."""
    homes = [os.environ[name] for name in ("CUDA_HOME", "CUDA_PATH") if name in os.environ]
    nvcc = shutil.which("nvcc") or any(Path(home, "bin/nvcc").is_file() for home in homes)
    return bool(nvcc and (shutil.which("ninja") or importlib.util.find_spec("ninja")))


def four_bit_backend(method: str, device: str) -> str:
    """gptqmodel's backend for packed weights of `method` ("awq", "gptq"): "auto", but Triton's on a
    GPU if its fastest kernels (Marlin, Machete), compiled at load, cannot be compiled."""
    return TRITON[method] if device.startswith("cuda") and not _compiles_cuda() else "auto"


def method_of(config: dict[str, Any]) -> str | None:
    """quant_method of a checkpoint's config.json; None for dense weights."""
    return (config.get("quantization_config") or {}).get("quant_method")


def is_quantized(model: Any) -> bool:
    """Whether a model's weights are in a packed format, whose type cannot be changed."""
    return getattr(model, "quantization_method", None) is not None


def prepare() -> None:
    """Set up gptqmodel, which holds the int4 kernels, before it is imported."""
    os.environ.setdefault("GPTQMODEL_CPU_WORKERS", "2")  # its thread pool refuses a single worker
    os.environ.setdefault("LOGBAR_LEVEL", "ERROR")  # no banner, no log of every step
    logging.getLogger("torch.utils._pytree").setLevel(logging.ERROR)
    if importlib.util.find_spec("pcre") is None:
        # gptqmodel imports PyPcre, which has no wheels; `re` serves its patterns.
        stand_in = sys.modules["pcre"] = ModuleType("pcre")
        flags = SimpleNamespace(CASELESS=re.I, MULTILINE=re.M)
        vars(stand_in).update(vars(re), Flag=flags)
