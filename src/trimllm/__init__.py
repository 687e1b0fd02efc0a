"""TrimLLM: progressive layer dropping for domain-specific language models.

`load`, `save`, `units`, `drop`, `scan`, `Unit` and `Document` are the public face. They are
imported on first use, so that programs that need only a corner of the library start fast;
`AutoModelForCausalLM` learns of trimmed checkpoints at once.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

from trimllm.base.registration import register_when_needed

if TYPE_CHECKING:
    from trimllm.checkpoint import load, save
    from trimllm.data import Document
    from trimllm.scan import scan
    from trimllm.units import Unit, drop, units

__all__ = ["Document", "Unit", "drop", "load", "save", "scan", "units"]

# A scan multiplies matrices of thousands of shapes, and oneDNN and PyTorch's bridge to it each keep
# the last 1024 of them: 600 MB, whatever the row budget. Both ask once, at the first product of a
# process.
for _cache in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"):
    os.environ.setdefault(_cache, "128")

_HOMES = {
    "Document": "trimllm.data",
    "Unit": "trimllm.units",
    "drop": "trimllm.units",
    "load": "trimllm.checkpoint",
    "save": "trimllm.checkpoint",
}
_ROOMS = ("scan", "units")  # packages that can be called


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name in _ROOMS:
        return importlib.import_module(f"trimllm.{name}")
    raise AttributeError(f"module 'trimllm' has no attribute {name!r}")


register_when_needed()
