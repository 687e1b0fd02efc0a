"""Sensitivity of every sublayer from one pass over the layers (paper, Eq. 3 and 4).

Instead of N forward passes, one for each dropped sublayer, a scan carries the candidates as extra
streams: sublayer j runs on the undropped stream and on one stream for every candidate i < j. Each
weight is used once, in large matrix products, and the cost is N^2 / 2 sublayer applications instead
of N^2. The result is that of dropping each in turn.
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
from trimllm.score import Row, batches, encode_document, max_positions
from trimllm.score.forward import answer_scores, answer_states
from trimllm.sublayers import Unit, device_of, units

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
    rows = [encode_document(tokenizer, document) for document in documents]
    chosen = [n for n, unit in enumerate(present) if candidates is None or unit in candidates]
    sums, norms = _sums(model, rows, chosen, row_budget, label)
    *scores, baseline = _scores(sums, rows, [document.answer for document in documents])
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


@torch.inference_mode()
def _sums(
    model: nn.Module, rows: Sequence[Row], candidates: list[int], row_budget: int, label: str | None
) -> tuple[Tensor, list[float]]:
    """Log-likelihoods (sublayers + 1, choices of all rows) without each candidate, and last with
    nothing dropped; and the mean norm of each sublayer's output."""
    number, head = len(units(model)), model.get_output_embeddings()
    sums = torch.zeros(number + 1, sum(len(row.choices) for row in rows), dtype=torch.double)
    norms, ran = torch.zeros(number, dtype=torch.double), 0
    with progress_bar(len(rows), "documents", label) as progress:
        tokens = max(1, row_budget // (len(candidates) + 1))
        for batch in batches(rows, tokens, max_positions(model), device_of(model)):
            choice, size = batch.choice.cpu(), max(1, row_budget // batch.tokens - 1)
            for first in range(0, max(1, len(candidates)), size):
                group = candidates[first : first + size]
                states = answer_states(model, batch, group, None if first else norms)
                scores = answer_scores(head, batch, states)[0].double().cpu()
                if first == 0:
                    sums[-1].index_add_(0, choice, scores[0])
                for at, stream in zip(group, scores[1:], strict=True):
                    sums[at].index_add_(0, choice, stream)
            ran += len(batch.rows)
            progress.update(len(batch.rows))
    return sums, (norms / ran).tolist()


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
