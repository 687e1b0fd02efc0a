"""What to drop, and which blocks to train (paper, sections 3.3 and 3.4)."""

import math
import random
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from trimllm.base.errors import UserError
from trimllm.base.names import ANSWER_CRITERION, FREE_CRITERIA, imported
from trimllm.scanning import Scan
from trimllm.sublayers import Unit

Criterion = Callable[[Scan, Unit], tuple[float, ...]]
"""A sort key: the sublayer with the lowest one is dropped first, of equals the first in the model.
Its sum over the sublayers of a block, number by number, is the block's importance."""
DELTA = 1e-3
"""delta of Eq. 3."""


def by_accuracy(scan: Scan, unit: Unit) -> float:
    """Eq. 3: s_i of the accuracy a_i (%) without sublayer i; 0 for 100%."""
    accuracy = scan.sublayers[unit].accuracy
    return (100 - accuracy) / ((1 + DELTA**2) + (1 + DELTA) * accuracy)


def by_norm(scan: Scan, unit: Unit) -> float:
    """Eq. 4: s_i of the activation norm of sublayer i; 100 for the smallest norm of all."""
    norm, smallest = scan.sublayers[unit].norm, min(one.norm for one in scan.sublayers.values())
    return 100 * smallest / norm if norm else math.inf


def by_likelihood(scan: Scan, unit: Unit) -> float:
    """Ours: minus the likelihood of the right choice, or reference answer, without sublayer i."""
    return -scan.sublayers[unit].likelihood


_CRITERIA: dict[str, Criterion] = {
    "calibration": lambda scan, unit: (by_accuracy(scan, unit),),
    "activation_norm": lambda scan, unit: (by_norm(scan, unit),),
    "both": lambda scan, unit: (by_accuracy(scan, unit), by_norm(scan, unit)),
    "likelihood": lambda scan, unit: (by_likelihood(scan, unit),),
    ANSWER_CRITERION: lambda scan, unit: (by_likelihood(scan, unit),),
}
_BUILT_IN = frozenset(_CRITERIA)


def register(name: str, criterion: Criterion) -> None:
    """Let a criterion be chosen by name."""
    _CRITERIA[name] = criterion


def criterion(name: str, free: bool) -> Criterion:
    """A criterion by its name, or by `package.module:name`, which is imported now. `UserError` if
    there is none, or if it does not fit the calibration documents, which are `free` answers or not.
    """
    key = imported(name) if ":" in name else _CRITERIA.get(name)
    if not callable(key):
        known = ", ".join(_CRITERIA)
        raise UserError(f"criterion {name!r} is none of {known}, and no package.module:name of one")
    fits = name in FREE_CRITERIA if free else name != ANSWER_CRITERION
    if name in _BUILT_IN and not fits:
        needs, have = ("choices", "free answers") if free else ("free answers", "choices")
        raise UserError(
            f"criterion {name!r} needs calibration documents with {needs}, and these have {have}; "
            f"use {ANSWER_CRITERION if free else 'likelihood'}"
        )
    return key


@dataclass(frozen=True)
class Selection:
    """Sublayers to drop, and how clear the choice was: None after a rule, and without a drop."""

    dropped: tuple[Unit, ...] = ()  # the first choice first
    ties: int | None = None  # candidates whose first number is that of the last sublayer dropped
    margin: float | None = None  # first number of the best sublayer kept, minus that of the last


def choose(scan: Scan, name: str, count: int) -> Selection:
    """The `count` sublayers to drop after a scan, by a criterion; at least one stays."""
    key = criterion(name, scan.free)
    scores = {unit: key(scan, unit) for unit in scan.scored}
    ranked = sorted(scores, key=scores.__getitem__)  # stable, and sublayers are in order
    if not 0 < count < len(ranked):
        raise UserError(f"cannot drop {count} of {len(ranked)} sublayers; keep at least one")
    last = scores[ranked[count - 1]][0]
    ties = sum(score[0] == last for score in scores.values())
    return Selection(tuple(ranked[:count]), ties, scores[ranked[count]][0] - last)


def choose_by_rule(rule: str, present: Sequence[Unit], count: int, seed: int = 0) -> Selection:
    """Whole blocks of `count` sublayers by a rule of Sajjad et al. (2023): random, top (the last)
    or bottom."""
    blocks = sorted({unit.block for unit in present})
    number, odd = divmod(count, 2)
    if odd or not 0 < number < len(blocks):
        raise UserError(f"rule {rule!r} drops whole blocks of {len(blocks)}: not {count} sublayers")
    chosen = {
        "random": random.Random(seed).sample(blocks, number),
        "top": blocks[-number:],
        "bottom": blocks[:number],
    }
    return Selection(tuple(unit for unit in present if unit.block in chosen[rule]))


def trainable_blocks(
    scan: Scan, name: str, ratio: float, among: Collection[int] | None = None
) -> list[int]:
    """The ceil(r L) most important blocks, which a sparse update trains (section 3.4).

    A block's importance is the sum of its sublayers'; of equals the lower index is trained. L
    counts all scanned blocks; `among` limits the choice, as after a dropping by rule.
    """
    if not 0 < ratio <= 1:
        raise UserError(f"sparse update ratio {ratio} is not in (0, 1]")
    key = criterion(name, scan.free)
    scores: dict[int, list[tuple[float, ...]]] = {}
    for unit in scan.scored:
        scores.setdefault(unit.block, []).append(key(scan, unit))
    total = {block: tuple(map(sum, zip(*each, strict=True))) for block, each in scores.items()}
    blocks = [block for block in sorted(total) if among is None or block in among]
    ranked = sorted(blocks, key=total.__getitem__, reverse=True)  # as stable as the other way
    # 0.1 * 30 is a little more than 3 in floating point
    return sorted(ranked[: math.ceil(round(ratio * len(total), 9))])
