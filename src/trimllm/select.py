"""Criteria and rules: what to drop, and which blocks to train (paper, section 3.3 and 3.4)."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from trimllm.base.errors import UserError
from trimllm.base.names import ANSWER_CRITERION
from trimllm.base.rooms import named
from trimllm.scanning import Scan, importance, norm_importance
from trimllm.sublayers import Unit

Score = Callable[[Scan, Unit], float]


@dataclass(frozen=True)
class Criterion:
    """How units are ranked by a scan.

    Attributes:
        first: compared first, of what is left without the unit; the largest is dropped.
        tie: decides between equals, the smallest is dropped; then the lower index.
        counted: `first` counts right answers. Counts tie or not whatever the rounding; a margin is
            in points of accuracy.
        importance: of a unit that stays, for the choice of the blocks to train (section 3.4);
            None: Eq. 3 where answers are counted, else the negative of `first`.
        free: documents that it can look at: with free answers, with choices, or (None) both.
    """

    first: Score
    tie: Score = lambda scan, unit: 0.0
    counted: bool = False
    importance: Score | None = None
    free: bool | None = False

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
    "activation_norm": Criterion(lambda scan, unit: scan.norm[unit], importance=by_norm, free=None),
    # Eq. 3, equals by Eq. 4, attention and MLP alike.
    "both": Criterion(_accuracy, lambda scan, unit: -scan.norm[unit], counted=True),
    # Ours: where the likelihood of the right choice that is left is highest.
    "likelihood": Criterion(lambda scan, unit: scan.likelihood[unit]),
    # Ours, of free answers: where the likelihood of the reference answer by token is highest.
    ANSWER_CRITERION: Criterion(lambda scan, unit: scan.answer_likelihood[unit], free=True),
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


def suited(name: str, free: bool) -> Criterion:
    """A criterion by its name, for documents with free answers or with choices.

    Raises:
        UserError: there is none, or it looks at documents of the other kind.
    """
    found = criterion(name)
    if found.free is not None and found.free != free:
        needs, have = ("free answers", "choices") if found.free else ("choices", "free answers")
        other = "likelihood" if found.free else ANSWER_CRITERION
        raise UserError(
            f"criterion {name!r} needs calibration documents with {needs}, and these have {have}; "
            f"take {other}"
        )
    return found


@dataclass(frozen=True)
class Selection:
    """Units to drop and how clear the choice was.

    Attributes:
        dropped: units, the first choice first.
        ties: candidates whose first score equals that of the last unit dropped, itself included.
        ties_attention, ties_mlp: the same by kind.
        margin: first score of the last unit dropped minus that of the best unit kept; points of
            accuracy (%), norm or mean log-likelihood, as the criterion has it.

    Of ties and margin there are none (None) by a rule, or where nothing is dropped.
    """

    dropped: tuple[Unit, ...] = ()
    ties: int | None = None
    ties_attention: int | None = None
    ties_mlp: int | None = None
    margin: float | None = None


def ranking(scan: Scan, name: str) -> list[Unit]:
    """Units by a criterion, the one to drop first at the head."""
    rank = suited(name, scan.free)
    # sorted is stable, and the scan lists units by index
    return sorted(scan.scored, key=lambda unit: (-rank.first(scan, unit), rank.tie(scan, unit)))


def choose(scan: Scan, name: str, count: int) -> Selection:
    """The `count` units to drop after a scan, by a criterion."""
    ranked, rank = ranking(scan, name), criterion(name)
    if not 0 < count < len(scan.norm) or count > len(ranked):
        raise UserError(
            f"cannot drop {count} of {len(ranked)} units; drop at least one and keep at least one"
        )
    bar = rank.first(scan, ranked[count - 1])
    tied = [unit.kind for unit in ranked if rank.first(scan, unit) == bar]
    scale = 100 / scan.documents if rank.counted else 1.0
    best_kept = ranked[count : count + 1]
    margin = scale * (bar - rank.first(scan, best_kept[0])) if best_kept else None
    return Selection(
        dropped=tuple(ranked[:count]),
        ties=len(tied),
        ties_attention=tied.count("attention"),
        ties_mlp=tied.count("mlp"),
        margin=margin,
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
    chosen = {
        "random": random.Random(seed).sample(blocks, wanted),
        "top": blocks[-wanted:],
        "bottom": blocks[:wanted],
    }
    if rule not in chosen:
        raise UserError(f"rule {rule!r} is none of {', '.join(chosen)}")
    return Selection(tuple(unit for unit in present if unit.block in chosen[rule]))


def trainable_blocks(
    scan: Scan, name: str, ratio: float, among: Collection[int] | None = None
) -> list[int]:
    """The ceil(r L) most important blocks, which a sparse update trains (section 3.4).

    A block's importance is the sum of its units' by the criterion. Equals are told apart by the
    sum of Eq. 4, then by the lower index. Needs a scan of all units of the full model. L
    counts all scanned blocks; `among` limits the choice to some, as after a dropping by rule.

    Raises:
        UserError: a ratio outside (0, 1], or a criterion of other documents.
    """
    if not 0 < ratio <= 1:
        raise UserError(f"sparse update ratio {ratio} is not in (0, 1]")
    blocks = sorted({unit.block for unit in scan.scored})

    def total(score: Score, block: int) -> float:
        return sum(score(scan, unit) for unit in scan.scored if unit.block == block)

    score = suited(name, scan.free).importance_of
    ranked = sorted(
        (block for block in blocks if among is None or block in among),
        key=lambda block: (-total(score, block), -total(by_norm, block), block),
    )
    # 0.1 * 30 is a little more than 3 in floating point
    return sorted(ranked[: math.ceil(round(ratio * len(blocks), 9))])
