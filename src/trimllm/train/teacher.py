"""A teacher for healing: the last hidden states of another model with the same embeddings and head.

States are kept, not logits: where embeddings, head and final norm are frozen, student and teacher
share their head, so that the states hold both, in a fortieth of the bytes. A document is run once,
however often it is trained on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from more_itertools import chunked
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from trimllm.base.errors import UserError
from trimllm.base.precision import compute_dtype, rounded_copy
from trimllm.base.progress import progress_bar
from trimllm.checkpoint import materialize
from trimllm.data import Document
from trimllm.score.scorer import max_positions
from trimllm.sublayers import device_of
from trimllm.train.batching import Example, examples_of, tensors_of

BATCH = 32
"""Documents that run at once."""


class Teacher:
    """Last hidden states of a model, by content hash of the document.

    Args:
        states: (tokens, width) each, of all tokens but the answer's last, or only of those that an
            answer token is predicted at.
    """

    def __init__(self, states: Mapping[str, Tensor]) -> None:
        self.states = states

    @classmethod
    @torch.inference_mode()
    def of(
        cls,
        model: nn.Module,
        tokenizer: Any,
        documents: Sequence[Document],
        *,
        dtype: str = "auto",
        every_token: bool = False,
        label: str | None = None,
    ) -> Teacher:
        """Run a model over documents.

        Args:
            dtype: type of matrix products and of the states (see `TrainSettings`).
            every_token: keep the states of all tokens, which `TrainSettings.hidden` needs.
        """
        device = device_of(model)
        product = compute_dtype(dtype, device)
        materialize(model, product)
        model = model if model.dtype == product else rounded_copy(model, product)
        examples = examples_of(tokenizer, documents, max_positions(model))
        progress = progress_bar(len(documents), "documents", label)
        states: dict[str, Tensor] = {}
        for part in chunked(sorted(examples, key=len), BATCH):
            batch = tensors_of(part, model.config.pad_token_id or 0, device)
            output = model.base_model(batch.ids, attention_mask=batch.mask, use_cache=False)
            for row, example in zip(output.last_hidden_state.cpu(), part, strict=True):
                last = len(example) - 1
                first = 0 if every_token else last - len(example.answer)
                states[example.document.hash] = row[first:last].clone()
            progress.update(len(part))
        progress.close()
        return cls(states)

    def save(self, path: str | Path) -> None:
        """Write the states as one safetensors file."""
        save_file(dict(self.states), path)

    @classmethod
    def load(cls, path: str | Path) -> Teacher:
        """Map what `save` wrote into memory; a document's states are read when they are used."""
        return cls(load_file(path))

    def states_of(self, width: int, every_token: bool, example: Example) -> Tensor:
        """(tokens, width) of an example: of its answer's tokens, or of all but the last.

        Args:
            width: of the student's hidden states.
            every_token: whether all are needed.

        Raises:
            UserError: the teacher has not run the document, kept too few tokens, or is another kind
                of model.
        """
        name, tokens = repr(example.document.prompt[:60]), len(example) - 1
        states = self.states.get(example.document.hash)
        if states is None:
            raise UserError(f"the teacher has not run the document {name}")
        if tuple(states.shape) not in ((tokens, width), (len(example.answer), width)):
            raise UserError(
                f"the teacher's states of the document {name} are {tuple(states.shape)}, not "
                f"{(tokens, width)}: a teacher needs the same tokenizer, embeddings and head"
            )
        if every_token and len(states) < tokens:
            raise UserError(
                "settings.hidden compares every token, and the teacher kept those of answers; use "
                "Teacher.of(..., every_token=True)"
            )
        return states
