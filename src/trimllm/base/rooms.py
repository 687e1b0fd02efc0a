"""Functions or objects named as `package.module:name`."""

from __future__ import annotations

import importlib
from typing import Any

from trimllm.base.errors import UserError


def named(text: str) -> Any:
    """What `package.module:name` names, imported now. `UserError` where there is no such thing."""
    module, _, name = text.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"{text!r} names nothing that can be imported: {error}") from error
