"""A teacher for healing: what another model of the same head says of documents, kept by document.

The teacher's last hidden states are kept, not its logits: where embeddings, head and final norm are
frozen, student and teacher share their head, so that the states hold both, in a fortieth of the
bytes. A document is run once, whatever number of epochs it is learned in.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from more_itertools import chunked
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from trimllm.base.errors import UserError
from trimllm.base.precision import compute_dtype, rounded_copy
from trimllm.base.progress import progress_bar
from trimllm.checkpoint import settle
from trimllm.data import Document
from trimllm.score.scorer import max_positions
from trimllm.sublayers import device_of
from trimllm.train.batching import examples_of, tensors_of

BATCH = 32
"""Documents that run at once."""


class Teacher:
    """Last hidden states of a model, by content hash of the document.

    Args:
        states: (tokens, width) each; of the last tokens before a prediction of the answer, or of
            all tokens but the answer's last.
    """

    def __init__(self, states: dict[str, Tensor]) -> None:
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
            dtype: type of matrix products and of what is kept (see `TrainSettings`).
            every_token: keep the states of all tokens, which `TrainSettings.hidden` needs.
        """
        device = device_of(model)
        wanted = compute_dtype(dtype, device)
        settle(model, wanted)
        model = model if model.dtype == wanted else rounded_copy(model, wanted)
        examples = examples_of(tokenizer, documents, max_positions(model))
        order = sorted(range(len(examples)), key=lambda at: (len(examples[at]), at))
        padding = model.config.pad_token_id or 0
        progress = progress_bar(len(documents), "documents", label)
        states: dict[str, Tensor] = {}
        for part in chunked(order, BATCH):
            batch = tensors_of([examples[at] for at in part], padding, device)
            found = model.base_model(batch.ids, attention_mask=batch.mask, use_cache=False)
            for row, at in zip(found.last_hidden_state.cpu(), part, strict=True):
                whole = row[: len(examples[at]) - 1]
                kept = whole if every_token else whole[-len(examples[at].answer) :]
                states[documents[at].hash] = kept.clone()
            progress.update(len(part))
        progress.close()
        return cls(states)

    def save(self, path: str | Path) -> None:
        """Write the states as one safetensors file."""
        save_file(self.states, path)

    @classmethod
    def load(cls, path: str | Path) -> Teacher:
        """Read what `save` wrote."""
        return cls(load_file(path))

    def of_document(self, document: Document) -> Tensor:
        """(tokens, width) of a document. Raises `UserError` for one that was not run."""
        if (found := self.states.get(document.hash)) is None:
            raise UserError(f"the teacher has not seen the document {document.prompt[:60]!r}")
        return found
