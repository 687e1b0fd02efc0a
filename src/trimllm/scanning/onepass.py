"""Sensitivity of every unit from one pass over the layers (paper, Eq. 3 and 4).

A scan asks what happens if unit i is dropped, for every i. Instead of N forward passes it carries
all candidates as extra streams: at unit j run the undropped stream and one stream for every
candidate i < j, so that each unit's weights are used once, in large matrix products, and the cost
is N^2 / 2 unit applications instead of N^2. The result is that of dropping each unit in turn.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from trimllm.base.errors import UserError
from trimllm.base.files import content_hash
from trimllm.base.precision import compute_dtype, rounded_copy
from trimllm.base.processes import ALONE, Processes
from trimllm.base.progress import progress_bar
from trimllm.data import Document, all_free
from trimllm.score.rows import Batch, Row, batches
from trimllm.score.scorer import answer_scores, max_positions, row_of, start_rows
from trimllm.sublayers import Unit, adapter_of, unit_layers, unit_parameters, units
from trimllm.sublayers.adapters import Adapter, Workspace, device_of
from trimllm.sublayers.presence import present

# Streams x tokens by bytes of a number: what is fastest on a CPU, 32768 by a tenth over 8192 in 16
# bits (fewer small products) and 8192 by a twentieth in float32 (caches).
ROW_BUDGETS = {2: 32768, 4: 8192}


@dataclass
class Scan:
    """What a scan found: scores by candidate, `norm` of every unit.

    Of documents with free answers there is `answer_likelihood` in place of the two.
    """

    documents: int  # number of calibration documents
    baseline: float | None = None  # accuracy (%) of the model as it is
    baseline_likelihood: float | None = None
    baseline_answer_likelihood: float | None = None
    # Documents answered right with the unit dropped.
    correct: dict[Unit, int] = field(default_factory=dict)
    # Mean over documents of the log-softmax over the choices' summed log-likelihoods at the right
    # choice, with the unit dropped (at most 0).
    likelihood: dict[Unit, float] = field(default_factory=dict)
    # Mean over documents of the mean log-likelihood of the reference answer's tokens, its end among
    # them, with the unit dropped (nats, at most 0).
    answer_likelihood: dict[Unit, float] = field(default_factory=dict)
    # Mean over documents of the Frobenius norm of what the unit adds to the residual stream, over
    # the tokens of the packed row (the norm of Eq. 4).
    norm: dict[Unit, float] = field(default_factory=dict)
    documents_sha256: str = ""  # of the documents' hashes, in order
    seconds: float = 0.0  # wall-clock time
    tokens: int = 0  # packed tokens of all documents
    operations: int = 0  # floating-point operations of all matrix products

    @property
    def free(self) -> bool:
        """Whether the documents have free answers."""
        return bool(self.answer_likelihood)

    @property
    def scored(self) -> list[Unit]:
        """The candidates, by index."""
        return list(self.answer_likelihood or self.correct)

    @property
    def accuracy(self) -> dict[Unit, float]:
        """The share of `correct` in % of the documents (a_i of Eq. 3)."""
        return {unit: 100 * count / self.documents for unit, count in self.correct.items()}


def scan(
    model: nn.Module,
    tokenizer: Any,
    documents: Sequence[Document],
    *,
    candidates: Collection[Unit] | None = None,
    row_budget: int | None = None,
    dtype: str | None = None,
    label: str | None = None,
    processes: Processes = ALONE,
) -> Scan:
    """Accuracy and likelihood without each candidate, and every unit's activation norm.

    Args:
        documents: calibration documents, all with choices or all with free answers.
        candidates: units to score; None scores every unit that the model has left.
        row_budget: streams x tokens that run at once; bounds memory, whatever the number of
            documents; None takes ROW_BUDGETS. A document that exceeds it by itself is scanned in
            groups of candidates.
        dtype: type of matrix products (see `compute_dtype`), on a rounded copy of the model where
            that is another; None takes the weights as they are.
        label: write progress to standard error under this name.
        processes: share the batches with other processes, each of which has the model and the
            documents and calls this; all get the same result, that of one process, bit by bit.

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
    wanted = compute_dtype(dtype, device_of(model)) if dtype else model.dtype
    if model.dtype != wanted:
        model = rounded_copy(model, wanted)
    first = processes.rank == 0
    progress = progress_bar(len(documents), "documents", label, shown=first)
    room = max_positions(model)
    rows = [_fit(row_of(tokenizer, document), room) for document in documents]
    answers = [document.answer for document in documents]
    row_budget = row_budget or ROW_BUDGETS[model.get_input_embeddings().weight.element_size()]
    run = _ScanRun(model, rows, answers, row_budget)
    if candidates is not None:
        run.open = [number for number, unit in enumerate(present) if unit in candidates]
    left = batches(rows, max(1, row_budget // (len(run.layers) + 1)), device_of(model))
    while turn := list(islice(left, processes.size)):
        run.add(turn, processes)
        progress.update(sum(len(batch.order) for batch in turn))
    result = run.result()
    result.documents_sha256 = content_hash("\n".join(document.hash for document in documents))
    result.seconds = time.perf_counter() - start
    progress.close()
    return result


def _fit(row: Row, max_length: int | None) -> Row:
    """Cut the prompt from the left so that the longest choice fits the model's positions: once for
    all choices, where an evaluation cuts it for each, as lm-eval does (`scorer.fit_rows`)."""
    if max_length is None or row.extent <= max_length:
        return row
    keep = max_length + 1 - max(len(choice) for choice in row.choices)
    if keep < 1:
        raise UserError(f"a choice does not fit the model's {max_length} positions")
    return Row(row.prompt[-keep:], row.choices)


class _Part:
    """What one batch adds to the sums of a scan: views of `values`, (numbers,) float64.

    correct and log_right (units + 1, documents) for each unit dropped and for none; norms (units,);
    operations () whole numbers, exact up to 2^53.
    """

    def __init__(self, batch: Batch, units: int) -> None:
        self.batch = batch
        table = (units + 1) * len(batch.order)
        self.values = torch.zeros(2 * table + units + 1, dtype=torch.double)
        correct, log_right, self.norms, operations = self.values.split([table, table, units, 1])
        self.correct, self.log_right = correct.view(units + 1, -1), log_right.view(units + 1, -1)
        self.operations = operations[0]


class _ScanRun:
    """The sums of a scan while it goes through its batches."""

    def __init__(
        self,
        model: nn.Module,
        rows: Sequence[Row],
        answers: Sequence[int],
        row_budget: int,
    ) -> None:
        self.model, self.rows, self.answers, self.row_budget = model, rows, answers, row_budget
        self.adapter: Adapter = adapter_of(model)
        self.layers = unit_layers(model)
        self.open = list(range(len(self.layers)))
        self.correct = torch.zeros(len(self.layers) + 1, dtype=torch.long)
        self.log_right = torch.zeros(len(self.layers) + 1, dtype=torch.double)
        self.norms = torch.zeros(len(self.layers), dtype=torch.double)
        self.seen = self.operations = 0
        self.work = Workspace()
        self.weights = [
            sum(p.numel() for p in parameters if p.dim() == 2)
            for parameters in unit_parameters(model).values()
        ]

    def add(self, turn: Sequence[Batch], processes: Processes) -> None:
        """Take in at most one batch for each process: each runs its own, all know of all.

        What they found is added in the order of the batches, so that the sums have the same bits
        whatever the number of processes.
        """
        parts = [_Part(batch, len(self.layers)) for batch in turn]
        if processes.rank < len(parts):
            self._run(parts[processes.rank])
        for part in parts:
            processes.add_up(part.values)
            self.norms += part.norms
            for correct, log_right in zip(part.correct.T, part.log_right.T, strict=True):
                self.correct += correct.long()
                self.log_right += log_right
            self.operations += int(part.operations)
            self.seen += len(part.batch.order)

    @torch.inference_mode()
    def _run(self, part: _Part) -> None:
        """Run all open candidates on a batch, in as many groups as the row budget asks for."""
        size = max(1, self.row_budget // part.batch.tokens - 1)
        for first in range(0, max(1, len(self.open)), size):
            group = self.open[first : first + size]
            sums = self._streams(part, group, measure=first == 0)
            self._count(part, [len(self.layers), *group] if first == 0 else group, sums)

    def _streams(self, part: _Part, candidates: list[int], measure: bool) -> Tensor:
        """(1 + candidates, choices) log-likelihoods: nothing dropped, then each candidate."""
        batch = part.batch
        hidden, shared = start_rows(self.adapter, self.model, batch, self.work)
        streams = self.work.get("streams", hidden, len(candidates) + 1, *hidden.shape[1:])
        before = self.work.get("before", hidden, *hidden.shape[1:])
        streams[0] = hidden[0]
        running = 1
        waiting = set(candidates)
        answers = None
        for number, (unit, layer) in enumerate(self.layers):
            before.copy_(streams[0])
            part.operations += self._work(number, unit, 1, batch)
            with present(layer, unit.kind):
                if number == len(self.layers) - 1 and unit.kind == "mlp":
                    # What the last MLP does to other tokens than these nobody asks.
                    answers = streams[: len(candidates) + 1, batch.places]
                    answers[running:] = before[batch.places]
                    self.adapter.apply_(layer, unit.kind, streams[:1], shared)
                    answers[0] = streams[0, batch.places]
                    if running > 1:
                        self.adapter.apply_(layer, unit.kind, answers[1:running], shared)
                    places = len(batch.places)
                    part.operations += self._work(number, unit, running - 1, batch, places)
                else:
                    self.adapter.apply_(layer, unit.kind, streams[:running], shared)
                    part.operations += self._work(number, unit, running - 1, batch)
            if measure:
                part.norms[number] = self._added(batch, streams[0] - before)
            if number in waiting:
                streams[running] = before
                running += 1
        if answers is None:
            answers = streams[:, batch.places]
        sums, _ = answer_scores(self.adapter, self.model, batch, answers)
        head = self.model.get_output_embeddings().weight.numel()
        normalized = len(batch.at[~batch.common].unique())
        part.operations += 2 * head * running * normalized
        return sums

    def _added(self, batch: Batch, update: Tensor) -> float:
        """Norm of an update (tokens, width) to the stream in each row, summed over the rows."""
        squares = update.float().square().sum(-1)
        total = 0.0
        for group in batch.groups[bool(batch.shared) :]:
            own = squares[group.first :][: group.rows * group.length]
            each = own.view(group.rows, group.length).sum(-1) + squares[: group.shared].sum()
            total += float(each.sqrt().sum(dtype=torch.double))
        return total

    def _count(self, part: _Part, streams: list[int], sums: Tensor) -> None:
        """Note right answers and their likelihoods; `streams` names what each row of sums is."""
        batch = part.batch
        sums = sums[-len(streams) :].double().cpu()
        where = torch.tensor(streams)
        start = 0
        for place, (index, count) in enumerate(zip(batch.order, batch.choices, strict=True)):
            choices = sums[:, start : start + count]
            answer = self.answers[index]
            start += count
            if count == 1:
                part.log_right[where, place] = choices[:, 0] / len(self.rows[index].choices[0])
                continue
            # argmax takes the first of equals, as lm-eval does
            part.correct[where, place] = (choices.argmax(-1) == answer).double()
            part.log_right[where, place] = choices.log_softmax(-1)[:, answer]

    def _work(
        self, number: int, unit: Unit, streams: int, batch: Batch, tokens: int | None = None
    ) -> int:
        """Operations of a unit's matrix products."""
        operations = 2 * self.weights[number] * streams * (tokens or batch.tokens)
        if unit.kind == "attention":
            pairs = sum(g.rows * g.length * (g.length + g.shared) for g in batch.groups)
            operations += 4 * pairs * self.model.config.hidden_size * streams
        return operations

    def result(self) -> Scan:
        count = len(self.rows)
        names = [unit for unit, _ in self.layers]
        likelihood = {names[i]: float(self.log_right[i]) / count for i in self.open}
        baseline = float(self.log_right[-1]) / count
        found = Scan(
            documents=count,
            norm={name: float(n) / count for name, n in zip(names, self.norms, strict=True)},
            tokens=sum(row.length for row in self.rows),
            operations=self.operations,
        )
        if len(self.rows[0].choices) == 1:
            found.answer_likelihood, found.baseline_answer_likelihood = likelihood, baseline
            return found
        found.likelihood, found.baseline_likelihood = likelihood, baseline
        found.correct = {names[i]: int(self.correct[i]) for i in self.open}
        found.baseline = 100 * int(self.correct[-1]) / count
        return found
