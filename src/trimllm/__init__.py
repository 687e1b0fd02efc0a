"""TrimLLM: progressive layer dropping for domain-specific language models.

    model, tokenizer = trimllm.load("path/of/a/checkpoint")
    for epoch in trimllm.trim(model, tokenizer, train=…, calibration=…, step=2, until=0.5):
        print(epoch.dropped, epoch.loss)
    trimllm.save(model, tokenizer, "path/of/the/trimmed/one")

The names of `__all__` are the public interface. They are imported on first use, so that a program
that needs only a part of the library starts fast. `import trimllm.auto` registers trimmed models
with the auto classes of transformers; `trimllm.load` does so by itself.
"""

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trimllm.checkpoint import load, save
    from trimllm.data import Document
    from trimllm.exporting.run import export
    from trimllm.scanning import scan
    from trimllm.sublayers import Unit, drop, units
    from trimllm.train import Teacher, TrainSettings
    from trimllm.trimming import trim

# A scan multiplies matrices of thousands of shapes, and oneDNN and PyTorch's bridge to it each keep
# the last 1024 of them: 600 MB, whatever the row budget. Both read these variables once, at the
# first product of a process.
for _cache in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"):
    os.environ.setdefault(_cache, "128")

_NAMES = {
    "checkpoint": ["load", "save"],
    "data": ["Document"],
    "exporting.run": ["export"],
    "scanning": ["scan"],
    "sublayers": ["Unit", "drop", "units"],
    "train": ["Teacher", "TrainSettings"],
    "trimming": ["trim"],
}
_MODULES = {name: module for module, names in _NAMES.items() for name in names}
__all__ = list(_MODULES)


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'trimllm' has no attribute {name!r}")
    return getattr(importlib.import_module(f"trimllm.{_MODULES[name]}"), name)
