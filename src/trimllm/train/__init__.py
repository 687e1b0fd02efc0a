"""Training: one pass, fine-tuning, and jobs from files to a checkpoint."""

from trimllm.train.jobs import TrainJob, make_checkpoint
from trimllm.train.loop import (
    PassRecord,
    TrainSettings,
    fine_tune,
    set_trainable,
    size_of,
    train_pass,
)
from trimllm.train.team import ONE, Team
