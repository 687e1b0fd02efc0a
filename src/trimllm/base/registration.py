"""Make transformers know trimmed checkpoints, without importing it before anyone needs it.

Importing transformers takes seconds, which programs that only prepare data or draw tables need
not pay. Trimmed classes are registered when transformers is imported, or at once if it already is.
That takes an import hook: transformers has no entry point by which a package could tell it of its
classes, and without one `AutoModelForCausalLM.from_pretrained` would refuse what trimllm has saved.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from importlib.abc import Loader, MetaPathFinder
from types import ModuleType
from typing import Any


class _AfterImport(MetaPathFinder):
    """Runs `register` right after the top of transformers has been imported.

    Later would be too late: its modules import each other in circles.
    """

    def __init__(self, register: Callable[[], object]) -> None:
        self.register = register

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Any:
        if fullname != "transformers":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            spec.loader = _RegisteringLoader(spec.loader, self.register)
        return spec


class _RegisteringLoader(Loader):
    def __init__(self, loader: Any, register: Callable[[], object]) -> None:
        self.loader, self.register = loader, register

    def create_module(self, spec: Any) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self.loader.exec_module(module)
        self.register()


def register_when_needed(register: Callable[[], object]) -> None:
    """Call `register` now if transformers is there, else when it is imported."""
    if "transformers" in sys.modules:
        register()
    elif not any(isinstance(finder, _AfterImport) for finder in sys.meta_path):
        sys.meta_path.insert(0, _AfterImport(register))
