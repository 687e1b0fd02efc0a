"""Training: one pass, fine-tuning, and jobs from files to a checkpoint."""

from trimllm.train.fine_tune import drop_at_once, fine_tune, size_of
from trimllm.train.jobs import TrainJob, make_checkpoint
from trimllm.train.loop import PassRecord, TrainSettings, set_trainable, train_pass
from trimllm.train.team import Team

__all__ = [
    "PassRecord",
    "Team",
    "TrainJob",
    "TrainSettings",
    "drop_at_once",
    "fine_tune",
    "make_checkpoint",
    "set_trainable",
    "size_of",
    "train_pass",
]
