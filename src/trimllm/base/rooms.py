"""Rooms that are also functions: `trimllm.scan` is a package, and `trimllm.scan(...)` scans."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any


def make_callable(room: str, function: Callable[..., Any]) -> None:
    """Let calling the package `room` call `function`, which has the package's own name."""

    class CallableRoom(ModuleType):
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

    module = sys.modules[room]
    module.__class__ = CallableRoom
    module.__doc__ = f"{module.__doc__}\n\nCalled, it is:\n\n{function.__doc__}"
