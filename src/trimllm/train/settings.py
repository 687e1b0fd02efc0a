"""How training is done, and what a pass says of itself."""

from __future__ import annotations

from dataclasses import dataclass

from trimllm.base.errors import UserError
from trimllm.base.names import OPTIMIZERS, SCHEDULES


@dataclass(frozen=True)
class TrainSettings:
    """Settings of a training run."""

    learning_rate: float = 2e-5  # the peak: that of a first step
    # Where the rate reaches zero: one of `SCHEDULES`.
    schedule: str = "chain"
    batch_size: int = 8  # documents that run at once
    # Batches an optimizer step; changes memory, not the result (but for rounding), when batch_size
    # shrinks accordingly.
    gradient_accumulation: int = 1
    # "adamw", or "adamw_8bit": with moments in 8 bits by bitsandbytes, 6 bytes a trained parameter
    # less, in one process.
    optimizer: str = "adamw"
    weight_decay: float = 0.0  # of AdamW
    clip: float = 1.0  # of the gradient's norm
    # Also train embeddings, head and final norm (the authors' code did).
    train_embeddings: bool = False
    seed: int = 0  # order of documents, and dropout where a model has it
    # "float32", "bfloat16" (matrix products in bfloat16, master weights in float32), or "auto":
    # bfloat16 where the processor has it.
    dtype: str = "auto"
    # Share of the loss that is the divergence from a teacher's predictions of the answer; the rest
    # is cross entropy. And the weight of the relative squared error of the last hidden states.
    kl: float = 0.0
    hidden: float = 0.0

    def __post_init__(self) -> None:
        if self.schedule not in SCHEDULES:
            raise UserError(f"schedule {self.schedule!r} is none of {', '.join(SCHEDULES)}")
        if self.optimizer not in OPTIMIZERS:
            raise UserError(f"optimizer {self.optimizer!r} is none of {', '.join(OPTIMIZERS)}")
        for name, least in (("batch_size", 1), ("gradient_accumulation", 1), ("hidden", 0)):
            if getattr(self, name) < least:
                raise UserError(f"{name} = {getattr(self, name)} is less than {least}")
        for name in ("learning_rate", "clip"):
            if not getattr(self, name) > 0:
                raise UserError(f"{name} = {getattr(self, name)} is not above 0")
        if not 0 <= self.kl <= 1:
            raise UserError(f"kl = {self.kl} is no share, from 0 to 1, of the loss")

    @property
    def taught(self) -> bool:
        """Whether a teacher is listened to."""
        return self.kl > 0 or self.hidden > 0

    def rate(self, epoch: int, epochs: int, done: float) -> float:
        """Learning rate where a share `done` of the steps of an epoch is done."""
        share = {"chain": (epoch + done) / epochs, "epoch": done, "constant": 0.0}[self.schedule]
        return self.learning_rate * (1 - share)


@dataclass(frozen=True)
class PassRecord:
    """What a pass over the documents did."""

    # Mean over the answers' tokens of what is minimized, nats: cross entropy, and with a teacher
    # its part of it, as the settings weigh them. None of a pass without documents.
    loss: float | None  # None where no document was seen
    loss_last_quarter: float | None  # the same over the last quarter of the steps
    steps: int
    documents: int
    tokens: int  # real ones, without padding
    seconds: float  # wall-clock time
    trainable_parameters: int  # number of parameters that were trained


NO_PASS = PassRecord(None, None, steps=0, documents=0, tokens=0, seconds=0, trainable_parameters=0)
"""What a pass without documents does."""
