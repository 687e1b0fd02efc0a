"""Seconds that training took, from the records of fine-tuning and of trim chains.

.../models/{model}/{domain}/{recipe}/training.json holds one entry a pass;
.../records/{model}/{domain}/{run}.jsonl one a chain's epoch, with its scan apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from trimllm.base.errors import UserError
from trimllm.base.files import check_seal, read_json
from trimllm_paper.chains import read_epochs


@dataclass(frozen=True)
class Duration:
    """Epochs of one recipe in order.

    Attributes:
        train, scan: seconds of every epoch.
        documents: training documents of an epoch.
        extends: whether further epochs would be like those recorded, so that they may be
            extrapolated; a chain's are not, it gets shorter.
        source: the file.
    """

    train: tuple[float, ...]
    scan: tuple[float, ...]
    documents: int
    extends: bool
    source: str

    def seconds(self, epochs: int, part: str = "train") -> float | None:
        """Seconds of the first so many epochs; None if they were not run."""
        values: Sequence[float] = getattr(self, part)
        if epochs <= len(values):
            return sum(values[:epochs])
        return epochs * fmean(values) if self.extends else None

    def told(self, epochs: int) -> str:
        """How many of the epochs were measured, in words."""
        if epochs <= len(self.train):
            return f"{epochs} epochs measured"
        return f"{len(self.train)} epochs measured, their mean times {epochs}"


class Durations:
    """All recorded runs, by model, domain and recipe; several where there are several seeds."""

    def __init__(self, trainings: Iterable[str | Path], chains: Iterable[str | Path]) -> None:
        self._found: dict[tuple[str, str, str], list[Duration]] = {}
        for path in sorted(map(Path, trainings)):
            model, domain, recipe = _named(path, "models", path.parent)
            self._found.setdefault((model, domain, recipe), []).append(_training(path))
        for path in sorted(map(Path, chains)):
            model, domain, run = _named(path, "records", path.with_suffix(""))
            self._found.setdefault((model, domain, run), []).append(_chain(path))

    def of(self, model: str, domain: str, recipe: str) -> list[Duration]:
        """Every run of a recipe, one a seed; none if it was not run."""
        return self._found.get((model, domain, recipe), [])


def _named(path: Path, room: str, recipe: Path) -> tuple[str, str, str]:
    """Model, domain and recipe of a path .../{room}/{model}/{domain}/{recipe}."""
    parts = recipe.parts
    if len(parts) < 4 or parts[-4] != room:
        raise UserError(f"{path} is not of the form {room}/MODEL/DOMAIN/RECIPE")
    return parts[-3], parts[-2], parts[-1]


def _training(path: Path) -> Duration:
    record = read_json(path)
    check_seal(path, record)
    passes = record.get("passes")
    if not passes:
        raise UserError(f"{path} records no pass; delete it and fine-tune again")
    seconds = tuple(one["seconds"] for one in passes)
    none = (0.0,) * len(seconds)
    return Duration(seconds, none, passes[0]["documents"], True, path.as_posix())


def _chain(path: Path) -> Duration:
    epochs = read_epochs(path)
    if not epochs:
        raise UserError(f"{path} records no epoch; delete it and run again")
    return Duration(
        tuple(one["seconds"]["train"] for one in epochs),
        tuple(one["seconds"]["scan"] for one in epochs),
        epochs[0]["training"]["documents"],
        False,
        path.as_posix(),
    )
