"""Loading compressed weights: kernels that need no compiler, and the types that they compute in."""

from __future__ import annotations

import importlib.util
import logging
import os
import re
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

FOUR_BIT = ("awq", "gptq")


def four_bit_dtype(device: str) -> str:
    """What int4 kernels compute in: PyTorch's own on a CPU bfloat16, those of GPUs float16."""
    return "bfloat16" if device.startswith("cpu") else "float16"


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
        # PyPcre exists as C sources only; for gptqmodel's few plain patterns Python's own will do.
        stand_in = sys.modules["pcre"] = ModuleType("pcre")
        stand_in.__spec__ = ModuleSpec("pcre", None)
        for name in ("compile", "escape", "match", "search", "sub", "fullmatch", "Pattern"):
            setattr(stand_in, name, getattr(re, name))
        stand_in.Flag = type("Flag", (), {"CASELESS": re.I, "MULTILINE": re.M})
