"""Loading compressed weights: kernels that need no compiler, and the types that they compute in."""

from __future__ import annotations

import logging
import os
import re
import sys
from importlib.abc import Loader, MetaPathFinder
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
    if not any(isinstance(finder, _RegularExpressions) for finder in sys.meta_path):
        sys.meta_path.append(_RegularExpressions())


class _RegularExpressions(MetaPathFinder, Loader):
    """Answers `import pcre` with Python's own `re` where PyPcre is not installed.

    gptqmodel uses it for a handful of plain patterns, and it exists as C sources only. Being the
    last finder, this one is asked only when there is no such package.
    """

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        return ModuleSpec(fullname, self) if fullname == "pcre" else None

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        for name in ("compile", "escape", "match", "search", "sub", "fullmatch", "Pattern"):
            setattr(module, name, getattr(re, name))
        module.Flag = type("Flag", (), {"CASELESS": re.I, "MULTILINE": re.M})
