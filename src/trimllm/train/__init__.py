"""Training: one pass, fine-tuning, and jobs from files to a checkpoint."""

from trimllm.train.fine_tune import fine_tune, held_back_score  # noqa: F401
from trimllm.train.jobs import TrainJob, make_checkpoint  # noqa: F401
from trimllm.train.loop import train_pass  # noqa: F401
from trimllm.train.model import set_trainable, size_of  # noqa: F401
from trimllm.train.settings import NO_PASS, PassRecord, TrainSettings  # noqa: F401
from trimllm.train.teacher import Teacher  # noqa: F401
