"""Fetch wheels (`wheels`, light) and models (`models`): checked by sha256, written atomically."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from trimllm.base.errors import UserError


@contextmanager
def hub_errors(absent: str) -> Iterator[None]:
    """Turn the errors of the hub's client into one line; `absent` says what is not there."""
    import httpx

    try:
        yield
    except (OSError, ValueError, httpx.HTTPError) as error:
        if getattr(error, "errno", None) == errno.ENOSPC:
            raise
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise UserError(f"{absent}, or it cannot be reached ({reason})") from None
