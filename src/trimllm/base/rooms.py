"""Modules that can be called, and functions or objects that are named by a text."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

from trimllm.base.errors import UserError


def make_callable(room: str, function: Callable[..., Any]) -> None:
    """Let calling the module `room` call `function`, which has the module's own name.

    `trimllm.scan` has to be both, a room of the library and the function that a user calls: once a
    submodule is imported, Python binds its name in the package, whatever the package says. Setting
    a module's `__class__` is how Python's data model lets a module do more than hold names.
    """

    class CallableRoom(ModuleType):
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

    module = sys.modules[room]
    module.__class__ = CallableRoom
    module.__doc__ = f"{module.__doc__}\n\nCalled, it is:\n\n{function.__doc__}"


def named(text: str) -> Any:
    """What `package.module:name` names, imported now. `UserError` where there is no such thing."""
    module, _, name = text.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"{text!r} names nothing that can be imported: {error}") from error
