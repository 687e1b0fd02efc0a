"""Criteria, rules and selectors: what to drop, what to train, which checkpoint to take."""

from trimllm.select.criteria import (
    COUNTED,
    CRITERIA,
    RULES,
    Selection,
    check_criterion,
    choose,
    choose_by_rule,
    ranking,
    trainable_blocks,
)
from trimllm.select.selectors import by_accuracy, by_limit, drops_for

__all__ = [
    "COUNTED",
    "CRITERIA",
    "RULES",
    "Selection",
    "by_accuracy",
    "by_limit",
    "check_criterion",
    "choose",
    "choose_by_rule",
    "drops_for",
    "ranking",
    "trainable_blocks",
]
