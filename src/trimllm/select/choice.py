"""Which units to drop next, which blocks to train, which checkpoint of a run to take."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from trimllm.base.errors import UserError
from trimllm.base.names import RULES
from trimllm.scan import Scan
from trimllm.select.criterion import by_norm, criterion
from trimllm.units import Unit


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


def ranking(scan: Scan, name: str) -> list[Unit]:
    """Units by a criterion, the one to drop first at the head; eliminated ones are not ranked."""
    rank = criterion(name)
    # sorted is stable, and the scan lists units by index
    return sorted(scan.correct, key=lambda unit: (-rank.first(scan, unit), rank.tie(scan, unit)))


def choose(scan: Scan, name: str, count: int) -> Selection:
    """The `count` units to drop after a scan, by a criterion."""
    ranked, rank = ranking(scan, name), criterion(name)
    if not 0 < count < len(ranked) + len(scan.eliminated):
        raise UserError(
            f"cannot drop {count} of {len(ranked) + len(scan.eliminated)} units; "
            "drop at least one and keep at least one"
        )
    dropped, kept = ranked[:count], ranked[count:]
    bar = rank.first(scan, dropped[-1])
    tied = [unit for unit in ranked if rank.first(scan, unit) == bar]
    scale = 100 / scan.documents if rank.counted else 1.0
    return Selection(
        dropped=tuple(dropped),
        ties=len(tied),
        ties_attention=sum(unit.kind == "attention" for unit in tied),
        ties_mlp=sum(unit.kind == "mlp" for unit in tied),
        margin=scale * (bar - rank.first(scan, kept[0])) if kept else None,
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
    scan: Scan, name: str, ratio: float, among: Collection[int] | None = None
) -> list[int]:
    """The ceil(r L) most important blocks, which a sparse update trains (section 3.4).

    A block's importance is the sum of its units' by the criterion. Equals are told apart by the
    sum of Eq. 4, then by the lower index. Needs a scan of the full model without elimination. L
    counts all scanned blocks; `among` limits the choice to some, as after a dropping by rule.

    Raises:
        UserError: a ratio outside (0, 1].
    """
    if not 0 < ratio <= 1:
        raise UserError(f"sparse update ratio {ratio} is not in (0, 1]")
    blocks = sorted({unit.block for unit in scan.correct})

    def total(score: Callable[[Scan, Unit], float], block: int) -> float:
        return sum(score(scan, unit) for unit in scan.correct if unit.block == block)

    eligible = [block for block in blocks if among is None or block in among]
    score = criterion(name).importance_of
    ranked = sorted(eligible, key=lambda b: (-total(score, b), -total(by_norm, b), b))
    # 0.1 * 30 is a little more than 3 in floating point
    return sorted(ranked[: math.ceil(round(ratio * len(blocks), 9))])


def by_accuracy(
    points: Sequence[dict[str, Any]], full: float, share: float = 0.9
) -> dict[str, Any]:
    """The smallest checkpoint that keeps more than `share` of an accuracy (Algorithm 1, C_a).

    With the accuracy of full fine-tuning this is the Final Mem of Tables 3 and 6. Checkpoints
    beyond it may be better again by luck; the last one above the bar counts.

    Args:
        points: one dictionary a checkpoint, with "drops" and "accuracy".
    """
    fitting = [point for point in points if point["accuracy"] > share * full]
    if not fitting:
        raise UserError(f"no checkpoint of the run keeps more than {share:.0%} of {full}")
    return max(fitting, key=lambda point: point["drops"])
