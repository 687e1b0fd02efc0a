"""The exception for mistakes that a user can correct."""


class UserError(Exception):
    """One line: what is wrong, where, and what to do."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(str(message).split()))
