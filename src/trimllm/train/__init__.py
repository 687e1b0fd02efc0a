"""Sparse update, one epoch, and the recipes made of them."""

from trimllm.train.jobs import TrainJob, make_checkpoint
from trimllm.train.loop import PassRecord, set_trainable, train_pass
from trimllm.train.recipes import drop_at_once, fine_tune, trim_epoch, watched_scan
from trimllm.train.settings import TrainSettings

__all__ = [
    "PassRecord",
    "TrainJob",
    "TrainSettings",
    "drop_at_once",
    "fine_tune",
    "make_checkpoint",
    "set_trainable",
    "train_pass",
    "trim_epoch",
    "watched_scan",
]
