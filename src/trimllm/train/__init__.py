"""Training: one pass, fine-tuning, and jobs from files to a checkpoint."""

from trimllm.train.fine_tune import HeldBackScore, fine_tune
from trimllm.train.jobs import TrainJob, make_checkpoint
from trimllm.train.loop import train_pass
from trimllm.train.model import set_trainable, size_of
from trimllm.train.settings import NO_PASS, PassRecord, TrainSettings
from trimllm.train.teacher import Teacher

__all__ = [
    *("NO_PASS", "HeldBackScore", "PassRecord", "Teacher", "TrainJob", "TrainSettings"),
    *("fine_tune", "make_checkpoint", "set_trainable", "size_of", "train_pass"),
]
