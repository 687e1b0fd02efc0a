"""Training: one pass, fine-tuning, and jobs from files to a checkpoint."""

from trimllm.train.jobs import TrainJob, make_checkpoint
from trimllm.train.loop import fine_tune, held_back_score, train_pass
from trimllm.train.settings import PassRecord, TrainSettings
from trimllm.train.teacher import Teacher
