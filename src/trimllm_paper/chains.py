"""What a trim run left behind: its evaluated checkpoints, and the record of every epoch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trimllm.base.errors import UserError
from trimllm.base.files import check_seal, read_jsonl
from trimllm_paper.measured import TRIM, Accuracy, Results

KINDS = ("attention", "mlp")


@dataclass(frozen=True)
class Run:
    """Which chains are meant: sparse-update ratio r and drops an epoch."""

    ratio: float
    drops_per_epoch: int

    def matches(self, ratio: str, drops: str) -> bool:
        """Whether the parts of a recipe's name mean this run."""
        return math.isclose(float(ratio), self.ratio) and int(drops) == self.drops_per_epoch

    def folder(self, criterion: str) -> str:
        """Name of the run's folder by a criterion, as the workflow has it."""
        return f"trim_{criterion}_r{self.ratio:g}_d{self.drops_per_epoch}"


def checkpoints(
    results: Results,
    model: str,
    domain: str,
    tasks: Sequence[str] | None,
    criterion: str,
    run: Run,
    compressor: str | None = None,
) -> list[tuple[int, Accuracy]]:
    """(units dropped, accuracy) of every evaluated checkpoint of a chain, fewest drops first.

    With `compressor` the checkpoints that were compressed by it afterwards.
    """
    found = []
    for recipe in results.recipes(model, domain):
        trimmed, _, by = recipe.partition("+")
        match = TRIM.fullmatch(trimmed)
        if not match or match["criterion"] != criterion or (by or None) != compressor:
            continue
        if run.matches(match["ratio"], match["drops"]):
            accuracy = results.accuracy(model, domain, recipe, tasks)
            found += [(int(match["dropped"]), accuracy)] if accuracy else []
    return sorted(found, key=lambda pair: pair[0])


@dataclass(frozen=True)
class Chain:
    """The records of one trim run, epoch 0 first."""

    model: str
    domain: str
    criterion: str
    run: Run
    epochs: tuple[dict[str, Any], ...]
    source: str

    @property
    def units_total(self) -> int:
        """Units of the untrimmed model."""
        return self.epochs[0]["units_total"]

    @property
    def blocks(self) -> int:
        """Decoder blocks of the untrimmed model."""
        return self.units_total // 2

    def dropped(self, at_most: int | None = None) -> list[tuple[int, str]]:
        """(block, kind) of the units dropped, in order, of whole epochs up to `at_most` drops."""
        found: list[tuple[int, str]] = []
        for epoch in self.epochs:
            drops = [(block, kind) for block, kind in epoch["units_dropped"]]
            if at_most is not None and len(found) + len(drops) > at_most:
                break
            found += drops
        return found

    def counts(self, at_most: int | None = None) -> DropCounts:
        """Dropped units by kind, and which of them only a tie-break chose.

        The scan's candidates that equal the last unit dropped are a tie when not all of them
        were dropped: which of them went was not decided by the first score.
        """
        clear, tied = dict.fromkeys(KINDS, 0), dict.fromkeys(KINDS, 0)
        even = dict.fromkeys(KINDS, 0.0)
        seen = 0
        for epoch in self.epochs:
            drops = epoch["units_dropped"]
            seen += len(drops)
            if at_most is not None and seen > at_most:
                break
            equals = _equals(epoch, self.criterion)
            broken = [unit for unit in map(tuple, drops) if unit in equals]
            if len(broken) == len(equals):
                broken = []  # all went: nothing was left to a tie-break
            for block, kind in drops:
                (tied if (block, kind) in broken else clear)[kind] += 1
            for kind in KINDS:
                share = sum(unit[1] == kind for unit in equals) / max(1, len(equals))
                even[kind] += len(broken) * share
        return DropCounts(clear, tied, even)


@dataclass(frozen=True)
class DropCounts:
    """Dropped units by kind (attention, mlp).

    `clear`: chosen by the first score alone. `tied`: chosen among equals by the tie-break.
    `even`: what `tied` would be on average if it were drawn from the equals by lot.
    """

    clear: dict[str, int]
    tied: dict[str, int]
    even: dict[str, float]

    def total(self, kind: str) -> int:
        """Dropped units of a kind, ties included."""
        return self.clear[kind] + self.tied[kind]


def _equals(epoch: dict[str, Any], criterion: str) -> set[tuple[int, str]]:
    """Candidates whose first score is that of the last unit dropped in an epoch."""
    key = {"activation_norm": "norm", "likelihood": "likelihood"}.get(criterion, "correct")
    scores = {(row["block"], row["kind"]): row[key] for row in epoch["scan"]["units"] if key in row}
    if not epoch["units_dropped"]:
        return set()
    last = tuple(epoch["units_dropped"][-1])
    return {unit for unit, score in scores.items() if score == scores.get(last)}


def read_epochs(path: str | Path) -> list[dict[str, Any]]:
    """The records in a chain's file, as each epoch sealed its own.

    Raises `UserError` if one of them was changed since.
    """
    epochs = read_jsonl(path)
    for one in epochs:
        check_seal(path, one)
    return epochs


def read_chain(path: str | Path) -> Chain:
    """Read `.../records/{model}/{domain}/trim_{criterion}_r{r}_d{d}.jsonl`.

    Raises `UserError` for a file that is none, is incomplete, was changed, or contradicts its path.
    """
    path = Path(path)
    match = TRIM.fullmatch(f"{path.stem}/drop_00")
    if path.suffix != ".jsonl" or not match or len(path.parts) < 3:
        raise UserError(f"{path} is not of the form records/MODEL/DOMAIN/RUN.jsonl")
    epochs = tuple(read_epochs(path))
    needed = {"epoch", "criterion", "units_dropped", "scan", "training", "seconds", "units_total"}
    remedy = "delete it and run the chain again"
    if not epochs or any(not needed <= one.keys() for one in epochs):
        raise UserError(f"{path} lacks what the record of an epoch holds; {remedy}")
    if [one["epoch"] for one in epochs] != list(range(len(epochs))):
        raise UserError(f"{path}: its epochs are not 0, 1, 2, ...; {remedy}")
    if any(one["criterion"] != match["criterion"] for one in epochs):
        raise UserError(f"{path}: its criterion is not that of its name; {remedy}")
    return Chain(
        model=path.parts[-3],
        domain=path.parts[-2],
        criterion=match["criterion"],
        run=Run(float(match["ratio"]), int(match["drops"])),
        epochs=epochs,
        source=path.as_posix(),
    )


def read_chains(paths: Iterable[str | Path], model: str, run: Run) -> dict[tuple[str, str], Chain]:
    """Chains of a model that belong to a run, by (domain, criterion)."""
    chains = map(read_chain, sorted(map(str, paths)))
    return {
        (one.domain, one.criterion): one for one in chains if one.model == model and one.run == run
    }
