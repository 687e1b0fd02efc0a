"""Make transformers know trimmed checkpoints, without importing it before anyone needs it.

Importing transformers takes seconds, which programs that only prepare data or draw tables need
not pay. Trimmed classes are registered when transformers is imported, or at once if it already is.
That takes an import hook: there is no entry point by which a package could tell transformers of
its classes.
"""

from __future__ import annotations

import importlib.util
import sys
from importlib.abc import Loader, MetaPathFinder
from types import ModuleType
from typing import Any

from trimllm.base import kernels


def register() -> None:
    """Register the trimmed model classes with transformers' auto classes.

    The kernels of compressed checkpoints are made ready too: transformers imports them itself.
    """
    kernels.prepare()
    from transformers import AutoConfig, AutoModelForCausalLM

    from trimllm.units.modeling_trimllm import TRIM_CLASSES

    for model_class in TRIM_CLASSES.values():
        config_class = model_class.config_class
        AutoConfig.register(config_class.model_type, config_class, exist_ok=True)
        AutoModelForCausalLM.register(config_class, model_class, exist_ok=True)


class _AfterImport(MetaPathFinder):
    """Runs `register` right after the top of transformers has been imported.

    Later would be too late: its modules import each other in circles.
    """

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Any:
        if fullname != "transformers":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            spec.loader = _RegisteringLoader(spec.loader)
        return spec


class _RegisteringLoader(Loader):
    def __init__(self, loader: Any) -> None:
        self.loader = loader

    def create_module(self, spec: Any) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self.loader.exec_module(module)
        register()


def register_when_needed() -> None:
    """Register now if transformers is there, else when it is imported."""
    if "transformers" in sys.modules:
        register()
    elif not any(isinstance(finder, _AfterImport) for finder in sys.meta_path):
        sys.meta_path.insert(0, _AfterImport())
