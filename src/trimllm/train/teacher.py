"""A teacher for healing: the last hidden states of another model with the same embeddings and head.

Student and teacher share the head where it is frozen, so that the states give the logits, too, in a
fortieth of the bytes. A document is run once, with all its choices, however often it is trained on.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from more_itertools import chunked
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from trimllm.base.errors import UserError
from trimllm.base.files import content_hash
from trimllm.base.precision import compute_dtype, rounded_copy
from trimllm.base.progress import progress_bar
from trimllm.checkpoint import materialize
from trimllm.data import Document
from trimllm.score import max_positions
from trimllm.sublayers import device_of
from trimllm.train.batching import Example, examples_of, last_states, packed

BATCH = 32
"""Documents that run at once."""


class Teacher:
    """Last hidden states of a model, by hash of the document's tokens: (tokens, width) each, of the
    packed row with all its choices."""

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
        label: str | None = None,
    ) -> Self:
        """Run a model over documents; `dtype` is that of matrix products and of the states."""
        product = compute_dtype(dtype, device_of(model))
        model = rounded_copy(materialize(model, product), product)
        examples = examples_of(tokenizer, documents, max_positions(model), choices=True)
        states: dict[str, Tensor] = {}
        with progress_bar(len(documents), label) as progress:
            for part in chunked(sorted(examples, key=lambda example: example.length), BATCH):
                last = last_states(model, packed(part, device_of(model))[0])
                for row, example in zip(last.cpu(), part, strict=True):
                    states[key_of(example)] = row[: example.length].clone()
                progress.update(len(part))
        return cls(states)

    def save(self, path: str | Path) -> None:
        """Write the states as one safetensors file."""
        save_file(dict(self.states), path)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Map what `save` wrote into memory; a document's states are read when they are used."""
        return cls(load_file(path))

    def states_of(self, batch: Sequence[Example], width: int) -> Tensor:
        """(rows, length, width) of a batch, 0 at padding."""
        rows = []
        for example in batch:
            prompt, choices = example.row
            states, size = self.states.get(key_of(example)), (example.row.length, width)
            if states is None or states.shape != size:
                raise UserError(
                    f"the teacher has no states {size} of a document of {len(prompt)} tokens; run "
                    "it over all training documents, with the same tokenizer and head"
                )
            if not example.choices:
                start = len(prompt) + sum(len(choice) - 1 for choice in choices[: example.answer])
                answer = states[start : start + example.tokens - 1]
                states = torch.cat([states[: len(prompt)], answer])
            rows.append(states)
        return pad_sequence(rows, batch_first=True)


def key_of(example: Example) -> str:
    """Hash of what a model sees of a document."""
    return content_hash(repr(tuple(example.row)))
