"""Who trains: one process that holds the whole model, or (`parallel.Sharded`) several."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from trimllm.base.precision import rounded_copy
from trimllm.base.processes import Processes
from trimllm.checkpoint import settle, stream_of
from trimllm.data import Document
from trimllm.score import Scored, score
from trimllm.sublayers import device_of, unit_layers
from trimllm.train.batching import Example, Tensors, answer_losses


class Team(Processes):
    """One process that holds the whole model. Several share a model and every batch.

    Args:
        lean: frozen matrices stay in 16 bits after a pass, for a model that is only scored and
            saved then: a device need never hold it in float32.
    """

    batches = 1
    """Of an optimizer step that run as one."""

    def __init__(self, lean: bool = False) -> None:
        self.lean = lean

    def device_of(self, model: nn.Module) -> torch.device:
        """Where this process runs a model."""
        return device_of(model)

    def place(self, model: nn.Module, dtype: torch.dtype) -> Callable[[Tensors], Tensor]:
        """Bring a model whose trainable parameters are marked to where it is trained.

        Parameters may be other objects afterwards. Returns what gives the summed loss
        of the answer of every row of a batch.
        """
        # Frozen matrices of units rest in the type they are used in: nothing needs them finer.
        resting = {
            id(parameter)
            for _, layer in unit_layers(model)
            for module in layer.modules()
            if isinstance(module, nn.Linear) and not module.weight.requires_grad
            for parameter in module.parameters()
        }

        def wanted(parameter: nn.Parameter) -> torch.dtype:
            return dtype if id(parameter) in resting else torch.float32

        if stream_of(model) is not None:
            settle(model, wanted)
        else:
            for parameter in model.parameters():
                parameter.data = parameter.data.to(wanted(parameter))
        head = model.get_output_embeddings()
        if dtype == torch.float32 or any(p.requires_grad for p in head.parameters()):
            return partial(answer_losses, model)
        # A frozen head is copied: the model's own stays as fine as the embeddings that it may be
        # tied to. Autocast would round it, the largest of all matrices, at every step.
        return partial(answer_losses, model, head=copy.deepcopy(head, {}).to(dtype))

    def share(self, batch: Sequence[Example]) -> tuple[Sequence[Example], float]:
        """The rows of a batch that this process runs, and the factor that its loss has."""
        return batch, 1.0

    def score(
        self, model: nn.Module, tokenizer: Any, documents: Sequence[Document], dtype: torch.dtype
    ) -> list[Scored]:
        """What a model says of documents, by weights rounded to `dtype`."""
        rounded = model if dtype == torch.float32 else rounded_copy(model, dtype)
        return score(rounded, tokenizer, documents)

    def every(self, value: int) -> list[int]:
        """A whole number of every process, by rank."""
        return [value]

    def retire(self, model: nn.Module) -> None:
        """After a pass: all weights in float32 again, unless `lean`."""
        if not self.lean:
            model.float()


ONE = Team()
