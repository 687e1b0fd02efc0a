"""Sparse update, one epoch, and the recipes made of them."""

from trimllm.train.loop import PassRecord, set_trainable, train_pass
from trimllm.train.recipes import fine_tune, trim_epoch
from trimllm.train.settings import TrainSettings, compute_dtype, has_bfloat16

__all__ = [
    "PassRecord",
    "TrainSettings",
    "compute_dtype",
    "fine_tune",
    "has_bfloat16",
    "set_trainable",
    "train_pass",
    "trim_epoch",
]
