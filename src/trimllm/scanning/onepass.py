"""Sensitivity of every sublayer from one pass over the layers (paper, Eq. 3 and 4).

Instead of N forward passes, one for each dropped sublayer, a scan carries the candidates as extra
streams: sublayer j runs on the undropped stream and on one stream for every candidate i < j. Each
weight is used once, in large matrix products, and the cost is N^2 / 2 sublayer applications instead
of N^2. The result is that of dropping each in turn.
"""

import random
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from trimllm.base.errors import UserError
from trimllm.base.files import content_hash
from trimllm.base.precision import compute_dtype, rounded_copy
from trimllm.base.progress import progress_bar
from trimllm.data import Document, all_free
from trimllm.score import Row, batches, encode_document, max_positions
from trimllm.score.forward import answer_scores, answer_states
from trimllm.sublayers import Unit, device_of, units

# Streams x tokens at once, fastest on a CPU: in 16 bits 32768 beats 8192 by a tenth (fewer small
# products), in float32 8192 beats 32768 by a twentieth (caches).
ROW_BUDGET_16_BITS, ROW_BUDGET = 32768, 8192
# Keys of likelihoods in records: of documents with choices, and with free answers.
KEYS = ("likelihood", "answer_likelihood")
# Fields of `Scan` that are those of its record.
FACTS = ("documents", "documents_sha256", "seconds", "tokens")


def sample_of(
    documents: Sequence[Document], count: int | None, seed: int, number: int
) -> list[Document]:
    """The calibration documents of scan `number` of a run: `count` drawn from a pool, anew for
    every scan (section 3.3). None takes all, as does a pool that has no more."""
    if count is None or count >= len(documents):
        return list(documents)
    return random.Random(f"{seed} scan {number}").sample(list(documents), count)


@dataclass(frozen=True)
class Scores:
    """Scores without a sublayer, or with nothing dropped; None for a sublayer that is no candidate.
    Each is float | None; `Any` spares criteria an assertion for every value."""

    accuracy: Any = None  # % of the documents answered right (a_i of Eq. 3); None for free answers
    # Mean over documents, nats: with choices the log-softmax over their summed log-likelihoods at
    # the right one; with free answers the mean over the answer's tokens, its end included.
    likelihood: Any = None
    # Mean over documents of the Frobenius norm of the sublayer's output over the tokens of the
    # packed row (Eq. 4); None with nothing dropped.
    norm: Any = None


@dataclass
class Scan:
    """Scores of every sublayer, in forward order."""

    documents: int  # number of calibration documents
    sublayers: dict[Unit, Scores]
    baseline: Scores = Scores()  # with nothing dropped
    free: bool = False  # whether the documents have free answers
    documents_sha256: str = ""  # of the documents' hashes, in order
    seconds: float = 0.0  # wall-clock time
    tokens: int = 0  # packed tokens of all documents

    @property
    def scored(self) -> list[Unit]:
        """The candidates."""
        return [unit for unit, one in self.sublayers.items() if one.likelihood is not None]


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
        row_budget: streams x tokens that run at once (None: ROW_BUDGET or ROW_BUDGET_16_BITS);
            bounds memory: a document that exceeds it is scanned in groups of candidates.
        dtype: type of matrix products (see `compute_dtype`), on a rounded copy of the model if
            that differs from its own; None takes the weights as they are.
        label: show progress on standard error under this name.

    Raises `UserError`: no documents, some with choices and some with free answers, or a candidate
    that the model does not have.
    """
    if not documents:
        raise UserError("a scan needs calibration documents, and there are none")
    free = all_free(documents, "calibration")
    present = units(model)
    if unknown := sorted(set(candidates or ()) - set(present)):
        raise UserError(f"cannot scan without sublayer {unknown[0]}: the model does not have it")
    start = time.perf_counter()
    computed = compute_dtype(dtype, device_of(model)) if dtype else model.dtype
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
    with progress_bar(len(rows), label) as progress:
        tokens = max(1, row_budget // (len(candidates) + 1))
        for batch in batches(rows, tokens, max_positions(model), device_of(model)):
            choice, size = batch.choice.cpu(), max(1, row_budget // batch.ids.numel() - 1)
            for first in range(0, max(1, len(candidates)), size):
                group = candidates[first : first + size]
                states = answer_states(model, batch, group, None if first else norms)
                scores = answer_scores(head, batch, states).double().cpu()
                if first == 0:
                    sums[-1].index_add_(0, choice, scores[0])
                for at, stream in zip(group, scores[1:], strict=True):
                    sums[at].index_add_(0, choice, stream)
            ran += len(batch.rows)
            progress.update(len(batch.rows))
    return sums, (norms / ran).tolist()


def _scores(sums: Tensor, rows: Sequence[Row], answers: Sequence[int]) -> list[Scores]:
    """Accuracy and likelihood of each row of log-likelihoods (streams, choices)."""
    correct, right = torch.zeros(2, len(sums), dtype=torch.double)
    free, counts = len(rows[0].choices) == 1, [len(row.choices) for row in rows]
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


def to_record(scan: Scan) -> dict[str, Any]:
    """A scan as a JSON object."""
    table = []
    for unit, one in scan.sublayers.items():
        row: dict[str, Any] = {"block": unit.block, "kind": unit.kind, "norm": one.norm}
        if one.accuracy is not None:
            correct = round(one.accuracy * scan.documents / 100)
            row |= {"correct": correct, "accuracy": one.accuracy}
        if one.likelihood is not None:
            row[KEYS[scan.free]] = one.likelihood
        table.append(row)
    return {
        **{name: getattr(scan, name) for name in FACTS},
        "baseline_accuracy": scan.baseline.accuracy,
        f"baseline_{KEYS[not scan.free]}": None,
        f"baseline_{KEYS[scan.free]}": scan.baseline.likelihood,
        "units": table,
    }


def from_record(record: dict[str, Any]) -> Scan:
    """The scan of a record."""
    free = record.get("baseline_answer_likelihood") is not None
    sublayers = {}
    for row in record["units"]:
        scores = Scores(row.get("accuracy"), row.get(KEYS[free]), row["norm"])
        sublayers[Unit(row["block"], row["kind"])] = scores
    baseline = Scores(record["baseline_accuracy"], record[f"baseline_{KEYS[free]}"])
    facts = {name: record[name] for name in FACTS if name in record}
    return Scan(sublayers=sublayers, baseline=baseline, free=free, **facts)
