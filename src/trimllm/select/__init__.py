"""Criteria, rules and selectors: what to drop, what to train, which checkpoint to take."""

from trimllm.select.choice import (
    Selection,
    by_accuracy,
    choose,
    choose_by_rule,
    ranking,
    trainable_blocks,
)
from trimllm.select.criterion import Criterion, criterion, register

__all__ = [
    "Criterion",
    "Selection",
    "by_accuracy",
    "choose",
    "choose_by_rule",
    "criterion",
    "ranking",
    "register",
    "trainable_blocks",
]
