"""The exception for mistakes that a user can correct."""

import contextlib
from collections.abc import Iterator


class UserError(Exception):
    """One line: what is wrong, where, and what to do."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(str(message).split()))


@contextlib.contextmanager
def required(extra: str) -> Iterator[None]:
    """Imports that need an extra of this package; one that is missing is a `UserError`."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise UserError(f"{error.name} is not installed: pip install 'trimllm[{extra}]'") from None
