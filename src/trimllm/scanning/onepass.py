"""Sensitivity of every sublayer from one pass over the layers (paper, Eq. 3 and 4).

A scan asks what happens if sublayer i is dropped, for every i. Instead of N forward passes it
carries the candidates as extra streams: sublayer j runs on the undropped stream and on one stream
for every candidate i < j. Each weight is used once, in large matrix products, and the cost is
N^2 / 2 sublayer applications instead of N^2. The result is that of dropping each in turn.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import replace
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
from trimllm.sublayers import Unit, device_of, unit_layers, units

# Streams x tokens at once, fastest on a CPU: in 16 bits 32768 beats 8192 by a tenth (fewer small
# products), in float32 8192 beats 32768 by a twentieth (caches).
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
    """Accuracy and likelihood without each candidate, and every sublayer's activation norm.

    Args:
        documents: calibration documents, all with choices or all with free answers.
        candidates: sublayers to score; None scores all that the model has left.
        row_budget: streams x tokens that run at once; bounds memory, whatever the number of
            documents. A document that exceeds it by itself is scanned in groups of candidates.
            None takes ROW_BUDGET or ROW_BUDGET_16_BITS.
        dtype: type of matrix products (see `compute_dtype`), on a rounded copy of the model if
            that differs from its own; None takes the weights as they are.
        label: show progress on standard error under this name.

    Raises:
        UserError: no documents, some with choices and some with free answers, or a candidate that
            the model does not have.
    """
    if not documents:
        raise UserError("a scan needs calibration documents, and there are none")
    free = all_free(documents, "calibration")
    present = units(model)
    if unknown := sorted(set(candidates or ()) - set(present)):
        raise UserError(f"cannot scan without sublayer {unknown[0]}: the model does not have it")
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
    *scores, baseline = _scores(run.sums, rows, [document.answer for document in documents])
    norms = (run.norms / run.rows).tolist()
    return Scan(
        documents=len(rows),
        sublayers={
            unit: replace(scores[n] if n in chosen else Scores(), norm=norms[n])
            for n, unit in enumerate(present)
        },
        baseline=baseline,
        free=free,
        documents_sha256=content_hash("\n".join(document.hash for document in documents)),
        seconds=time.perf_counter() - start,
        tokens=sum(row.length for row in rows),
    )


class _Run:
    """Sums over the batches so far.

    Attributes:
        sums: (sublayers + 1, choices) log-likelihood of every choice of all documents without each
            candidate, and last with nothing dropped.
        norms: (sublayers,) of outputs, summed over rows.
        rows: number of rows.
    """

    def __init__(
        self, model: nn.Module, candidates: list[int], choices: int, row_budget: int
    ) -> None:
        self.model, self.candidates, self.row_budget = model, candidates, row_budget
        self.layers, self.head = unit_layers(model), model.get_output_embeddings()
        self.sums = torch.zeros(len(self.layers) + 1, choices, dtype=torch.double)
        self.norms, self.rows = torch.zeros(len(self.layers), dtype=torch.double), 0

    @torch.inference_mode()
    def add(self, batch: Batch) -> None:
        """Run all candidates on a batch, in as many groups as the row budget requires."""
        size = max(1, self.row_budget // batch.tokens - 1)
        for first in range(0, max(1, len(self.candidates)), size):
            self._add_group(batch, self.candidates[first : first + size], first == 0)
        self.rows += len(batch.rows)

    def _add_group(self, batch: Batch, group: list[int], measure: bool) -> None:
        """Run the undropped stream, and for each candidate of a group a stream without it.

        Args:
            measure: count norms and the undropped stream, once a batch.
        """

        def run(hidden: Tensor, sublayers: Sublayers) -> Tensor:
            streams = hidden.new_empty(len(group) + 1, *hidden.shape)
            streams[0], running = hidden, 1
            for number, (unit, layer) in enumerate(self.layers):
                before = streams[0].clone()
                sublayers.add_(layer, unit.kind, streams[:running])
                if measure:
                    self.norms[number] += _norms(batch, streams[0] - before).double().cpu()
                if number in group:
                    streams[running] = before
                    running += 1
            return streams

        scores, _ = answer_scores(self.head, batch, run_through(self.model, batch, run))
        targets = torch.tensor([len(self.layers), *group])
        sums = self.sums.new_zeros(len(targets), self.sums.shape[1])
        sums.index_add_(1, batch.choice.cpu(), scores.double().cpu())
        skip = 0 if measure else 1
        self.sums[targets[skip:]] += sums[skip:]


def _norms(batch: Batch, output: Tensor) -> Tensor:
    """Frobenius norm of an output (rows, length, width) in each row, summed over the rows."""
    squares = output.float().square().sum(-1) * (batch.segments >= 0)
    return squares.sum(-1).sqrt().sum(dtype=torch.double)


def _scores(sums: Tensor, rows: Sequence[Row], answers: Sequence[int]) -> list[Scores]:
    """Accuracy and likelihood of each row of log-likelihoods (streams, choices)."""
    correct = torch.zeros(len(sums), dtype=torch.long)
    right = torch.zeros(len(sums), dtype=torch.double)
    free = len(rows[0].choices) == 1
    counts = [len(row.choices) for row in rows]
    for row, answer, choices in zip(rows, answers, sums.split(counts, dim=1), strict=True):
        if free:
            right += choices[:, 0] / len(row.choices[0])
        else:
            correct += choices.argmax(-1) == answer  # the first of equals, as in lm-eval
            right += choices.log_softmax(-1)[:, answer]
    return [
        Scores(None if free else 100 * int(count) / len(rows), float(total) / len(rows))
        for count, total in zip(correct, right, strict=True)
    ]
