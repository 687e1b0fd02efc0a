"""TrimLLM: progressive layer dropping for domain-specific language models.

    model, tokenizer = trimllm.load("path/of/a/checkpoint")
    for epoch in trimllm.trim(model, tokenizer, train=…, calibration=…, step=2, until=0.5):
        print(epoch.dropped, epoch.loss)
    trimllm.save(model, tokenizer, "path/of/the/trimmed/one")

The names of `__all__` are the public face. They are imported on first use, so that programs that
need only a corner of the library start fast; `AutoModelForCausalLM` learns of trimmed checkpoints
at once.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

from trimllm.base import kernels
from trimllm.base.registration import register_when_needed

if TYPE_CHECKING:
    from trimllm.checkpoint import load, save
    from trimllm.data import Document
    from trimllm.export import export
    from trimllm.scan import scan
    from trimllm.train import TrainSettings
    from trimllm.trim import trim
    from trimllm.units import Unit, drop, units

__all__ = [
    *("Document", "TrainSettings", "Unit", "drop", "export", "load", "save", "scan", "trim"),
    "units",
]

# A scan multiplies matrices of thousands of shapes, and oneDNN and PyTorch's bridge to it each keep
# the last 1024 of them: 600 MB, whatever the row budget. Both ask once, at the first product of a
# process.
for _cache in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"):
    os.environ.setdefault(_cache, "128")

_HOMES = {
    "Document": "trimllm.data",
    "TrainSettings": "trimllm.train",
    "Unit": "trimllm.units",
    "drop": "trimllm.units",
    "load": "trimllm.checkpoint",
    "save": "trimllm.checkpoint",
}
_ROOMS = ("export", "scan", "select", "trim", "units")  # all but `select` can be called


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name in _ROOMS:
        return importlib.import_module(f"trimllm.{name}")
    raise AttributeError(f"module 'trimllm' has no attribute {name!r}")


def _register() -> None:
    """Make trimmed models known to transformers' auto classes, and compressed ones loadable."""
    kernels.prepare()  # transformers imports the kernels of compressed checkpoints itself
    importlib.import_module("trimllm.units")


register_when_needed(_register)
