"""How many free answers are generated together."""

from __future__ import annotations

ANSWERS_AT_ONCE = 32
"""At most: on a CPU more give nothing."""


def together(longest: int, token_budget: int) -> int:
    """Answers at once, to prompts of up to `longest` tokens, of which so many run at once."""
    return max(1, min(token_budget // max(1, longest), ANSWERS_AT_ONCE))
