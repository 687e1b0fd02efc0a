"""Sparse update, one epoch, and the recipes made of them."""

from trimllm.train.loop import PassRecord, set_trainable, train_pass
from trimllm.train.recipes import fine_tune, trim_epoch, watched_scan
from trimllm.train.settings import TrainSettings

__all__ = [
    "PassRecord",
    "TrainSettings",
    "fine_tune",
    "set_trainable",
    "train_pass",
    "trim_epoch",
    "watched_scan",
]
