"""Which units to drop next, and which blocks to train (paper, sections 3.3 and 3.4)."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from trimllm.base.errors import UserError
from trimllm.base.names import AUTHORS, CRITERIA, RULES
from trimllm.scan import Scan, importance, norm_importance
from trimllm.units import Unit

# What a criterion compares first, and what decides between equals; larger is dropped first.
# Accuracies are compared as counts: percentages would tie or not by rounding.
_FIRST: dict[str, Callable[[Scan, Unit], float]] = {
    "calibration": lambda scan, unit: scan.correct[unit],
    "activation_norm": lambda scan, unit: scan.norm[unit],
    "both": lambda scan, unit: scan.correct[unit],
    "likelihood": lambda scan, unit: scan.likelihood[unit],
    AUTHORS: lambda scan, unit: scan.correct[unit],
}
# What decides between equals, smaller is dropped first; the lower index where it says nothing.
_TIE: dict[str, Callable[[Scan, Unit], float]] = {
    "both": lambda scan, unit: -scan.norm[unit],
    AUTHORS: lambda scan, unit: unit.kind != "mlp",
}
# By accuracy, in counts of documents.
COUNTED = ("calibration", "both", AUTHORS)


@dataclass(frozen=True)
class Selection:
    """Units to drop and how clear the choice was.

    Attributes:
        dropped: units, the first choice first.
        ties: candidates whose first score equals that of the last unit dropped, itself included.
        ties_attention, ties_mlp: the same by kind.
        margin: first score of the last unit dropped minus that of the best unit kept; points of
            accuracy (%), norm or mean log-likelihood, as the criterion has it. None by a rule.
    """

    dropped: tuple[Unit, ...]
    ties: int = 1
    ties_attention: int = 0
    ties_mlp: int = 0
    margin: float | None = None


def check_criterion(name: str) -> None:
    """`UserError` for a name that is neither a criterion nor a rule."""
    if name not in CRITERIA + RULES:
        raise UserError(f"criterion {name!r} is none of {', '.join(CRITERIA + RULES)}")


def ranking(scan: Scan, criterion: str) -> list[Unit]:
    """Units by criterion, the one to drop first at the head.

    `calibration` drops where the accuracy left is highest (lowest s_i of Eq. 3), the lowest index
    of equals; `activation_norm` where the norm is largest (lowest s_i of Eq. 4); `both` as
    `calibration`, the largest norm of equals, attention and MLP alike; `likelihood` (ours) where
    the likelihood left is highest; `authors` as `calibration`, the MLP of equals, which is what the
    code of the paper's authors does (to be used on a scan with their residual fault). Units
    eliminated during the scan are not ranked.
    """
    check_criterion(criterion)
    if criterion in RULES:
        raise UserError(f"{criterion!r} is a rule and does not rank units by a scan")
    first, tie = _FIRST[criterion], _TIE.get(criterion, lambda scan, unit: 0.0)
    # sorted is stable, and the scan lists units by index
    return sorted(scan.correct, key=lambda unit: (-first(scan, unit), tie(scan, unit)))


def choose(scan: Scan, criterion: str, count: int) -> Selection:
    """The `count` units to drop after a scan."""
    ranked = ranking(scan, criterion)
    if not 0 < count < len(ranked) + len(scan.eliminated):
        raise UserError(
            f"cannot drop {count} of {len(ranked) + len(scan.eliminated)} units; "
            "drop at least one and keep at least one"
        )
    dropped, kept = ranked[:count], ranked[count:]
    first = _FIRST[criterion]
    bar = first(scan, dropped[-1])
    tied = [unit for unit in ranked if first(scan, unit) == bar]
    scale = 100 / scan.documents if criterion in COUNTED else 1.0
    return Selection(
        dropped=tuple(dropped),
        ties=len(tied),
        ties_attention=sum(unit.kind == "attention" for unit in tied),
        ties_mlp=sum(unit.kind == "mlp" for unit in tied),
        margin=scale * (bar - first(scan, kept[0])) if kept else None,
    )


def choose_by_rule(rule: str, present: Sequence[Unit], count: int, seed: int = 0) -> Selection:
    """Whole blocks by a rule of Sajjad et al. (2023): random, top (last) or bottom (first).

    `count` is in units, so it has to be even.
    """
    blocks = sorted({unit.block for unit in present})
    wanted, odd = divmod(count, 2)
    if odd or not 0 < wanted < len(blocks):
        raise UserError(
            f"rule {rule!r} drops whole blocks of {len(blocks)}: {count} units do not make some"
        )
    match rule:
        case "random":
            chosen = set(random.Random(seed).sample(blocks, wanted))
        case "top":
            chosen = set(blocks[-wanted:])
        case "bottom":
            chosen = set(blocks[:wanted])
        case _:
            raise UserError(f"rule {rule!r} is none of {', '.join(RULES)}")
    return Selection(tuple(unit for unit in present if unit.block in chosen))


def trainable_blocks(
    scan: Scan, criterion: str, ratio: float, among: Collection[int] | None = None
) -> list[int]:
    """The ceil(r L) most important blocks, which a sparse update trains (section 3.4).

    A block's importance is the sum of its units' scores: Eq. 3 for criteria by accuracy, Eq. 4
    for the norm, the negative likelihood for `likelihood`. Equals are told apart by the sum of
    Eq. 4, then by the lower index. Needs a scan of the full model without elimination. L counts
    all scanned blocks; `among` limits the choice to some of them, as after a dropping by rule.

    Raises:
        UserError: a ratio outside (0, 1].
    """
    if not 0 < ratio <= 1:
        raise UserError(f"sparse update ratio {ratio} is not in (0, 1]")
    smallest = min(scan.norm.values())
    by_norm = {unit: norm_importance(norm, smallest) for unit, norm in scan.norm.items()}
    if criterion == "activation_norm":
        score = by_norm
    elif criterion == "likelihood":
        score = {unit: -value for unit, value in scan.likelihood.items()}
    else:
        score = {unit: importance(accuracy) for unit, accuracy in scan.accuracy.items()}
    blocks = sorted({unit.block for unit in scan.correct})

    def total(values: dict[Unit, float], block: int) -> float:
        return sum(value for unit, value in values.items() if unit.block == block)

    eligible = [block for block in blocks if among is None or block in among]
    ranked = sorted(eligible, key=lambda b: (-total(score, b), -total(by_norm, b), b))
    # 0.1 * 30 is a little more than 3 in floating point
    return sorted(ranked[: math.ceil(round(ratio * len(blocks), 9))])
