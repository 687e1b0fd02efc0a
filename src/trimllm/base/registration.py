"""Make transformers know trimmed checkpoints, without importing it before anyone needs it.

Importing transformers takes seconds, which programs that only prepare data or draw tables need
not pay. Trimmed classes are registered when transformers is imported, or at once if it already is.
That takes an import hook: transformers has no entry point by which a package could tell it of its
classes, and without one `AutoModelForCausalLM.from_pretrained` would refuse what trimllm has saved.

The import itself is made lighter: a third of it was two packages of which transformers takes one
function each, for what a language model never or hardly does, and collecting garbage where there
is none.
"""

from __future__ import annotations

import gc
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.abc import Loader, MetaPathFinder
from types import ModuleType
from typing import Any

LATE = {
    "transformers.generation.candidate_generator": ("sklearn.metrics", "roc_curve"),
    "transformers.loss.loss_utils": ("scipy.optimize", "linear_sum_assignment"),
}
"""Module of transformers -> a package, and what it takes from it: imported when that is called (for
the threshold of a draft's guesses, and to match boxes in pictures)."""


@contextmanager
def without_collection() -> Iterator[None]:
    """No garbage is looked for while modules are imported, which make none."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


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
        with without_collection():
            self.loader.exec_module(module)
            for user, (package, name) in LATE.items():
                _import_without(user, package, name)
            self.register()


def _import_without(user: str, package: str, name: str) -> None:
    """Import `user`, which finds a `package` of one function: it imports the real one at its call.

    What fails by it (a version that takes more) is imported as usual, by who needs it.
    """
    if package in sys.modules:
        return

    def late(*arguments: Any, **options: Any) -> Any:
        return getattr(importlib.import_module(package), name)(*arguments, **options)

    stand_in = ModuleType(package)
    setattr(stand_in, name, late)
    sys.modules[package] = stand_in
    try:
        with suppress(ImportError):
            importlib.import_module(user)
    finally:
        del sys.modules[package]


def register_when_needed(register: Callable[[], object]) -> None:
    """Call `register` now if transformers is there, else when it is imported."""
    if "transformers" in sys.modules:
        register()
    elif not any(isinstance(finder, _AfterImport) for finder in sys.meta_path):
        sys.meta_path.insert(0, _AfterImport(register))
