"""The one exception that a user of the project is meant to see."""

from __future__ import annotations


class UserError(Exception):
    """A mistake that the user can mend: one line saying what, where, and what to do."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(str(message).split()))
