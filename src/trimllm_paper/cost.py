"""What training costs: the paper's Eq. 5 and 6, and our measured epochs on the same scale.

Unit of cost: one epoch of full fine-tuning, that is N units trained at c each. Until n_d units are
dropped, d at a time after each epoch, n_d / d epochs train N, N - d, N - 2d, ... units:

    cost(n_d) = c * sum_{i=0}^{n_d/d - 1} (N - d i)        Eq. 5: d = 1, Eq. 6: d = 2

For N = 64, n_d = 32 and c = 1 Eq. 6 gives 784 = 12.25 epochs, times the paper's 0.6 for a sparse
update 7.35 epochs. Source: the paper, section A.5.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trimllm.base.errors import UserError
from trimllm.base.files import check_seal, read_json
from trimllm_paper.chains import Chain

PAPER_UNITS = 64
SPARSE_FACTOR = 0.6
"""Time of a sparse update over full fine-tuning that the paper reads from its Table 9."""
FULL_EPOCHS = 5
"""Epochs of full fine-tuning that the paper compares with."""


def progressive(units: int, dropped: int, step: int) -> float:
    """Epochs of full fine-tuning until `dropped` of `units` units are gone, `step` an epoch.

    Raises `ValueError` for drops that are no whole number of epochs or leave nothing.
    """
    if dropped % step or not 0 <= dropped < units:
        raise ValueError(f"{dropped} of {units} units cannot go {step} at a time")
    return sum(units - step * epoch for epoch in range(dropped // step)) / units


@dataclass(frozen=True)
class Measured:
    """Cost of a chain in epochs of full fine-tuning over as many tokens, after each epoch."""

    dropped_percent: tuple[float, ...]
    training: tuple[float, ...]
    with_scans: tuple[float, ...]
    sparse_factor: float | None
    """Sparse over full fine-tuning, by seconds a token."""
    factor: float
    """The whole chain over as many epochs of full fine-tuning, scans left out."""


def read_training(paths: Iterable[str | Path]) -> dict[tuple[str, str, str], dict[str, Any]]:
    """(model, domain, recipe) -> record, of files `.../{model}/{domain}/{recipe}/training.json`.

    Raises `UserError` for a file that records no training passes or was changed.
    """
    found = {}
    for path in map(Path, sorted(map(str, paths))):
        record = read_json(path)
        check_seal(path, record)
        if not record.get("passes"):
            raise UserError(f"{path} records no training pass; delete it and train again")
        found[path.parts[-4], path.parts[-3], path.parts[-2]] = record
    return found


def seconds_per_token(passes: Sequence[Mapping[str, Any]]) -> float:
    """Of some training passes, pooled."""
    return sum(one["seconds"] for one in passes) / sum(one["tokens"] for one in passes)


def measure(
    chain: Chain, full: Mapping[str, Any], sparse: Mapping[str, Any] | None = None
) -> Measured:
    """A chain's cost from wall clocks.

    Args:
        chain: its records.
        full, sparse: training.json of full and sparse fine-tuning in the same domain.

    A pass over T tokens costs its seconds over (T x seconds a token of full fine-tuning), so that
    epochs of different length compare. The scan of an epoch is put on the same scale.
    """
    unit = seconds_per_token(full["passes"])
    shares, training, scans = [], [], []
    gone = 0
    for epoch in chain.epochs:
        gone += len(epoch["units_dropped"])
        tokens = epoch["training"]["tokens"]
        training.append(epoch["seconds"]["train"] / (tokens * unit))
        scans.append(epoch["seconds"]["scan"] / (tokens * unit))
        shares.append(100 * gone / chain.units_total)
    sums = [sum(training[: k + 1]) for k in range(len(training))]
    both = [done + sum(scans[: k + 1]) for k, done in enumerate(sums)]
    factor = seconds_per_token([e["training"] for e in chain.epochs]) / unit
    ratio = seconds_per_token(sparse["passes"]) / unit if sparse else None
    return Measured(tuple(shares), tuple(sums), tuple(both), ratio, factor)


def measured(
    chains: Iterable[Chain], trainings: Iterable[str | Path]
) -> dict[tuple[str, str], Measured]:
    """(domain, criterion) -> cost of the chains of a run whose domain has a full fine-tuning.

    Args:
        trainings: training.json of full and sparse fine-tuning.
    """
    trained = read_training(trainings)
    found = {}
    for chain in chains:
        full, sparse = (
            trained.get((chain.model, chain.domain, recipe)) for recipe in ("full_ft", "sparse_ft")
        )
        if full:
            found[chain.domain, chain.criterion] = measure(chain, full, sparse)
    return found
