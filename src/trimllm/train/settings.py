"""How to train."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TrainSettings:
    """Settings of a training run.

    Attributes:
        learning_rate: at the first step; decays linearly to 0 at the last step of the last epoch.
        batch_size: documents that run at once.
        gradient_accumulation: batches an optimizer step; changes memory, not the result (but for
            rounding), when batch_size shrinks accordingly.
        weight_decay, clip: of AdamW, and of the gradient's norm.
        train_embeddings: also train embeddings, head and final norm (the authors' code did).
        seed: order of documents, and dropout where a model has it.
        dtype: "float32", "bfloat16" (matrix products in bfloat16, master weights in float32), or
            "auto": bfloat16 where the processor has it.
    """

    learning_rate: float = 2e-5
    batch_size: int = 8
    gradient_accumulation: int = 1
    weight_decay: float = 0.0
    clip: float = 1.0
    train_embeddings: bool = False
    seed: int = 0
    dtype: str = "auto"

    def rate(self, done: float) -> float:
        """Learning rate where a share `done` of all steps of all epochs is done."""
        return self.learning_rate * (1 - done)
