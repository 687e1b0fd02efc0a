"""Sensitivity of every unit from one pass over the layers (paper, Eq. 3 and 4).

A scan asks what happens if unit i is dropped, for every i. Instead of N forward passes it carries
all candidates as extra streams: at unit j run the undropped stream and one stream for every
candidate i < j, so that each unit's weights are used once, in large matrix products, and the cost
is N^2 / 2 unit applications instead of N^2. The result is that of dropping each unit in turn.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from trimllm.base.errors import UserError
from trimllm.base.files import content_hash
from trimllm.base.precision import compute_dtype, rounded_copy
from trimllm.base.progress import progress_bar
from trimllm.data import Document, all_free
from trimllm.scanning.record import Scan, Scores
from trimllm.score import Row, batches, max_positions, row_of
from trimllm.score.forward import Sublayers, answer_scores, run_through
from trimllm.score.rows import Batch
from trimllm.sublayers import (
    Unit,
    adapter_of,
    device_of,
    unit_layers,
    unit_parameters,
    units,
)

# Streams x tokens that run at once: what is fastest on a CPU, 32768 by a tenth over 8192 in 16 bits
# (fewer small products) and 8192 by a twentieth in float32 (caches).
ROW_BUDGET_16_BITS, ROW_BUDGET = 32768, 8192


def scan(
    model: nn.Module,
    tokenizer: Any,
    documents: Sequence[Document],
    *,
    candidates: Collection[Unit] | None = None,
    row_budget: int | None = None,
    dtype: str | None = None,
    label: str | None = None,
) -> Scan:
    """Accuracy and likelihood without each candidate, and every unit's activation norm.

    Args:
        documents: calibration documents, all with choices or all with free answers.
        candidates: units to score; None scores every unit that the model has left.
        row_budget: streams x tokens that run at once; bounds memory, whatever the number of
            documents; None takes ROW_BUDGET, or ROW_BUDGET_16_BITS. A document that exceeds it by
            itself is scanned in groups of candidates.
        dtype: type of matrix products (see `compute_dtype`), on a rounded copy of the model where
            that is another; None takes the weights as they are.
        label: write progress to standard error under this name.

    Raises:
        UserError: no documents, some with choices and some with free answers, or a candidate that
            the model does not have.
    """
    if not documents:
        raise UserError("a scan needs calibration documents, and there are none")
    all_free(documents, "calibration")  # raises where they are mixed
    present = units(model)
    if unknown := sorted(set(candidates or ()) - set(present)):
        raise UserError(f"cannot scan without unit {unknown[0]}: the model does not have it")
    start = time.perf_counter()
    computed = compute_dtype(dtype, device_of(model)) if dtype else model.dtype
    if model.dtype != computed:
        model = rounded_copy(model, computed)
    row_budget = row_budget or (ROW_BUDGET_16_BITS if computed.itemsize == 2 else ROW_BUDGET)
    rows = [row_of(tokenizer, document) for document in documents]
    chosen = [n for n, unit in enumerate(present) if candidates is None or unit in candidates]
    run = _Run(model, chosen, sum(len(row.choices) for row in rows), row_budget)
    progress = progress_bar(len(documents), "documents", label)
    tokens = max(1, row_budget // (len(present) + 1))
    for batch in batches(rows, tokens, max_positions(model), device_of(model)):
        run.add(batch)
        progress.update(len(batch.rows))
    progress.close()
    result = _result(run, rows, [document.answer for document in documents])
    result.documents_sha256 = content_hash("\n".join(document.hash for document in documents))
    result.seconds = time.perf_counter() - start
    return result


class _Run:
    """What a scan has added up over the batches so far.

    Attributes:
        sums: (sublayers + 1, choices) log-likelihood of every choice of all documents without each
            candidate, and last with nothing dropped.
        norms: (sublayers,) of updates to the residual stream, summed over rows.
        counts: (2,) rows, and operations of matrix products.
    """

    def __init__(
        self, model: nn.Module, candidates: list[int], choices: int, row_budget: int
    ) -> None:
        self.model, self.candidates, self.row_budget = model, candidates, row_budget
        self.layers, self.head = unit_layers(model), model.get_output_embeddings()
        self.sums = torch.zeros(len(self.layers) + 1, choices, dtype=torch.double)
        self.norms = torch.zeros(len(self.layers), dtype=torch.double)
        self.counts = torch.zeros(2, dtype=torch.double)
        self.weights = [
            sum(p.numel() for p in parameters if p.dim() == 2)
            for parameters in unit_parameters(model).values()
        ]

    @torch.inference_mode()
    def add(self, batch: Batch) -> None:
        """Run all candidates on a batch, in as many groups as the row budget asks for."""
        size = max(1, self.row_budget // batch.tokens - 1)
        for first in range(0, max(1, len(self.candidates)), size):
            self._add_group(batch, self.candidates[first : first + size], first == 0)
        self.counts[0] += len(batch.rows)

    def _add_group(self, batch: Batch, group: list[int], measure: bool) -> None:
        """Run the undropped stream, and a stream for each candidate of a group from it on."""

        def run(hidden: Tensor, sublayers: Sublayers) -> Tensor:
            streams = hidden.new_empty(len(group) + 1, *hidden.shape)
            streams[0], running = hidden, 1
            for number, (unit, layer) in enumerate(self.layers):
                before = streams[0].clone()
                sublayers.add_(layer, unit.kind, streams[:running])
                self.counts[1] += running * self._operations(number, unit, layer, batch)
                if measure:
                    self.norms[number] += _norms(batch, streams[0] - before).double().cpu()
                if number in group:
                    streams[running] = before
                    running += 1
            return streams

        hidden = run_through(self.model, batch, run)
        self.counts[1] += 2 * self.head.weight.numel() * hidden.shape[:2].numel()
        found, _ = answer_scores(self.head, batch, hidden)
        where = torch.tensor([len(self.layers), *group])
        skip = 0 if measure else 1  # the undropped stream counts once
        sums = self.sums.new_zeros(len(where), self.sums.shape[1])
        sums.index_add_(1, batch.choice.cpu(), found.double().cpu())
        self.sums[where[skip:]] += sums[skip:]

    def _operations(self, number: int, unit: Unit, layer: nn.Module, batch: Batch) -> int:
        """Operations of a sublayer's matrix products on one stream."""
        operations = 2 * self.weights[number] * batch.tokens
        if unit.kind == "attention":
            width = adapter_of(self.model).output_projection(layer, unit.kind).in_features
            operations += 4 * batch.tokens * batch.ids.shape[1] * width
        return operations


def _norms(batch: Batch, update: Tensor) -> Tensor:
    """Frobenius norm of an update (rows, length, width) in each row, summed over the rows."""
    squares = update.float().square().sum(-1) * (batch.segments >= 0)
    return squares.sum(-1).sqrt().sum(dtype=torch.double)


def _result(run: _Run, rows: Sequence[Row], answers: Sequence[int]) -> Scan:
    """Right answers and likelihoods by the log-likelihoods of all choices."""
    counts = [len(row.choices) for row in rows]
    correct = torch.zeros(len(run.sums), dtype=torch.long)
    right = torch.zeros(len(run.sums), dtype=torch.double)
    for row, answer, choices in zip(rows, answers, run.sums.split(counts, dim=1), strict=True):
        if len(row.choices) == 1:
            right += choices[:, 0] / len(row.choices[0])
            continue
        # argmax takes the first of equals, as lm-eval does
        correct += choices.argmax(-1) == answer
        right += choices.log_softmax(-1)[:, answer]
    norms, free = run.norms / run.counts[0], counts[0] == 1
    scores = [
        Scores(None if free else 100 * int(c) / len(rows), float(r) / len(rows), norm)
        for c, r, norm in zip(correct, right, [*norms.tolist(), None], strict=True)
    ]
    return Scan(
        documents=len(rows),
        sublayers={
            unit: scores[n] if n in run.candidates else Scores(norm=scores[n].norm)
            for n, (unit, _) in enumerate(run.layers)
        },
        baseline=scores[-1],
        free=free,
        tokens=sum(row.length for row in rows),
        operations=int(run.counts[1]),
    )
