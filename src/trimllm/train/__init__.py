"""Training: one pass, fine-tuning, and jobs from files to a checkpoint."""

from trimllm.train.fine_tune import HeldBackScore, fine_tune, learns
from trimllm.train.jobs import TrainJob, make_checkpoint
from trimllm.train.loop import train_pass
from trimllm.train.lora import Lora
from trimllm.train.place import set_trainable, size_of
from trimllm.train.settings import NO_PASS, PassRecord, TrainSettings
from trimllm.train.teacher import Teacher
from trimllm.train.trainer import Torchrun, Trainer
