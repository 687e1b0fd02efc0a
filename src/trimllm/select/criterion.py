"""What a criterion compares, and the criteria that there are (paper, section 3.3)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from trimllm.base.errors import UserError
from trimllm.base.names import AUTHORS
from trimllm.base.rooms import named
from trimllm.scan import Scan, importance, norm_importance
from trimllm.units import Unit

Score = Callable[[Scan, Unit], float]


@dataclass(frozen=True)
class Criterion:
    """How units are ranked by a scan.

    Attributes:
        first: compared first, of what is left without the unit; the largest is dropped.
        tie: decides between equals, the smallest is dropped; then the lower index.
        counted: `first` counts right answers. Counts tie or not whatever the rounding; a scan may
            then eliminate units early, and a margin is told in points of accuracy.
        importance: of a unit that stays, for the choice of the blocks to train (section 3.4);
            None: Eq. 3 where answers are counted, else the negative of `first`.
        residual_fault: scan with the residual fault of the authors' code (see `trimllm.scan`).
    """

    first: Score
    tie: Score = lambda scan, unit: 0.0
    counted: bool = False
    importance: Score | None = None
    residual_fault: bool = False

    def importance_of(self, scan: Scan, unit: Unit) -> float:
        """How much a unit is missed when it is gone."""
        if self.importance is not None:
            return self.importance(scan, unit)
        return importance(scan.accuracy[unit]) if self.counted else -self.first(scan, unit)


def by_norm(scan: Scan, unit: Unit) -> float:
    """Eq. 4, lowest for the largest norm."""
    return norm_importance(scan.norm[unit], min(scan.norm.values()))


def _accuracy(scan: Scan, unit: Unit) -> int:
    return scan.correct[unit]


_CRITERIA = {
    # Lowest s_i of Eq. 3: where the accuracy left is highest.
    "calibration": Criterion(_accuracy, counted=True),
    # Lowest s_i of Eq. 4: where the norm is largest.
    "activation_norm": Criterion(lambda scan, unit: scan.norm[unit], importance=by_norm),
    # Eq. 3, equals by Eq. 4, attention and MLP alike.
    "both": Criterion(_accuracy, lambda scan, unit: -scan.norm[unit], counted=True),
    # Ours: where the likelihood of the right choice that is left is highest.
    "likelihood": Criterion(lambda scan, unit: scan.likelihood[unit]),
    # The code of the paper's authors: the MLP of equals, on a scan with their residual fault.
    AUTHORS: Criterion(
        _accuracy, lambda scan, unit: unit.kind != "mlp", counted=True, residual_fault=True
    ),
}


def register(name: str, criterion: Criterion) -> None:
    """Let `criterion` be chosen by name."""
    _CRITERIA[name] = criterion


def criterion(name: str) -> Criterion:
    """A criterion by its name, or by `package.module:name`, which is imported now.

    Raises:
        UserError: there is none.
    """
    found = named(name) if ":" in name else _CRITERIA.get(name)
    if not isinstance(found, Criterion):
        known = ", ".join(_CRITERIA)
        raise UserError(f"criterion {name!r} is none of {known}, and no package.module:name of one")
    return found
