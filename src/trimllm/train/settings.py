"""Settings of training, and the record of a pass."""

from dataclasses import dataclass

from trimllm.base.errors import UserError
from trimllm.base.names import OPTIMIZERS, SCHEDULES


@dataclass(frozen=True)
class TrainSettings:
    """Settings of a training run."""

    learning_rate: float = 2e-5  # peak: that of the first step
    schedule: str = "chain"  # where the rate reaches zero, one of `SCHEDULES`
    batch_size: int = 8  # documents
    gradient_accumulation: int = 1  # batches an optimizer step
    optimizer: str = "adamw"  # or "adamw_8bit": moments in 8 bits by bitsandbytes, in one process
    weight_decay: float = 0.0
    clip: float = 1.0  # largest norm of the gradient
    train_embeddings: bool = False  # also embeddings, head and final norm
    seed: int = 0  # order of documents, and dropout where a model has it
    # "float32", "bfloat16" (matrix products in bfloat16, master weights in float32), or "auto":
    # bfloat16 where the processor has it.
    dtype: str = "auto"
    # With a teacher: share of the loss that is the divergence from its predictions (the rest is
    # cross entropy of the right answer), and weight of the hidden states' relative squared error.
    kl: float = 0.0
    hidden: float = 0.0
    # Weights of the softmax over a document's choices: cross entropy, and divergence from the
    # teacher's. With either of them the teacher's tokens and states are those of all choices.
    choice_loss: float = 0.0
    choice_kl: float = 0.0

    def __post_init__(self) -> None:
        for name, known in (("schedule", SCHEDULES), ("optimizer", OPTIMIZERS)):
            if getattr(self, name) not in known:
                raise UserError(f"{name} {getattr(self, name)!r} is none of {', '.join(known)}")

    @property
    def needs_teacher(self) -> bool:
        """Whether a part of the loss compares with a teacher."""
        return self.kl > 0 or self.hidden > 0 or self.choice_kl > 0

    @property
    def choices(self) -> bool:
        """Whether all choices of a document are trained on, or the right one alone."""
        return self.choice_loss > 0 or self.choice_kl > 0

    def rate(self, epoch: int, epochs: int, done: float) -> float:
        """Learning rate where a share `done` of the steps of an epoch is done."""
        share = {"chain": (epoch + done) / epochs, "epoch": done, "constant": 0.0}[self.schedule]
        return self.learning_rate * (1 - share)


@dataclass(frozen=True)
class PassRecord:
    """What a pass over documents did; as it is by default where nothing is trained."""

    # Mean over the answers' tokens of what is minimized, nats: cross entropy, with a teacher its
    # part too. None without documents.
    loss: float | None = None
    steps: int = 0
    documents: int = 0
    tokens: int = 0  # without padding
    seconds: float = 0  # wall-clock time
    trainable_parameters: int = 0
