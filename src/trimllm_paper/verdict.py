"""Verdicts: what a measured cell says about the paper's cell. Computed, never written by hand.

A cell is *own* when the paper's own model was measured on the column's own data set; everything
else is a stand-in. With x the measured accuracy, p the published one:

`reproduced` (own cells only)
    p lies in the 95% interval of x, or within `TOLERANCE` points of x, and the interval is no wider
    than `WIDEST` points: a handful of documents agrees with everything and reproduces nothing.
`shape only`
    the number does not stand for the paper's, but every relation that the paper reports for the
    cell holds in our measurement:
    - *gain*: the difference to the pretrained model has the paper's sign, and its (paired) 95%
      interval excludes zero. Asked only where the paper's own difference is at least
      `PAPER_MARGIN` points, about what its test sets can resolve. The pretrained row, which has
      no such difference, is judged by the gain of Full-FT.
    - *keeps*: more than 90% of Full-FT's accuracy is kept, or not, as in the paper (the paper's
      own criterion C_a of Algorithm 1). Not asked of the pretrained and the Full-FT row.
`not reproduced`
    anything else. On stand-ins: our measurement does not show what the paper reports.
`not run`
    the cell, or a cell that it has to be compared with, was not measured.

A cell for which the paper publishes nothing has no verdict.

Throughput: own is the paper's model shape on the paper's GPU, and then `reproduced` a median within
`SPEED_TOLERANCE` of the paper's (software of other years is faster or slower by more). Elsewhere
`shape only`: faster than the full model, or slower, as in the paper, by the whole of the quartiles;
asked only where the paper's ratio is `RATIO_MARGIN` away from 1.

Time of training depends on the machine, and nobody has the paper's: shares of Full-FT's time agree
(`shape only`) within `SHARE_SLACK` points, and Full-FT itself where the others take less.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trimllm_paper.derive import Accuracy
from trimllm_paper.published import Value, bound_percent

REPRODUCED = "reproduced"
SHAPE_ONLY = "shape only"
NOT_REPRODUCED = "not reproduced"
NOT_RUN = "not run"

TOLERANCE = 1.0
"""Points; fine-tuning under another seed moves a number about as far."""
WIDEST = 10.0
"""Points; widest 95% interval that can reproduce a number (about 400 documents at 50%)."""
PAPER_MARGIN = 2.0
"""Points; about the 95% interval of a difference on the paper's test sets of 700 to 4,200."""
KEEPS = 0.9
"""Share of Full-FT's accuracy that counts as no loss in the paper."""
SIZE_SLACK = 10.0
"""Points above the printed bound on the size that still agree with it."""
SPEED_TOLERANCE = 0.15
"""Share of the published number by which an own measurement may differ."""
RATIO_MARGIN = 0.05
"""Ratios nearer to 1 than this are no statement: the paper gives no intervals."""
SHARE_SLACK = 10.0
"""Points of Full-FT's time by which a share may differ from the paper's and agree."""


@dataclass(frozen=True)
class Relation:
    """A statement of the paper and whether ours shows it; None: it could not be compared."""

    holds: bool | None
    text: str


def gain(
    measured: Accuracy, base: Accuracy | None, published: float, published_base: float
) -> Relation | None:
    """The relation to the pretrained model; None where the paper itself shows no difference."""
    theirs = published - published_base
    if abs(theirs) < PAPER_MARGIN:
        return None
    if base is None:
        return Relation(None, "the pretrained model was not run")
    ours = measured.minus(base)
    holds = ours.low > 0 if theirs > 0 else ours.high < 0
    return Relation(holds, f"over pretrained {ours}, paper {theirs:+.1f}")


def keeps(
    measured: Accuracy, full: Accuracy | None, published: float, published_full: float
) -> Relation:
    """The relation to full fine-tuning: more than 90% of its accuracy is kept, or not."""
    if full is None or full.right == 0:
        return Relation(None, "Full-FT has no right answer" if full else "Full-FT was not run")
    ours, theirs = measured.percent / full.percent, published / published_full
    told = f"keeps {100 * ours:.0f}% of Full-FT, paper {100 * theirs:.0f}%"
    return Relation((ours > KEEPS) == (theirs > KEEPS), told)


def relations(
    row: str,
    measured: Accuracy,
    published: float,
    ours: Sequence[Accuracy | None],
    theirs: Sequence[float],
) -> list[Relation]:
    """What the paper reports about a row of its main tables, relative to the baselines.

    `ours` and `theirs` are the pretrained model and Full-FT, measured (None: not run) and printed.
    """
    (base, full), (their_base, their_full) = ours, theirs
    if row == "pretrained":
        if full is None:
            return [Relation(None, "Full-FT was not run")]
        of_full = gain(full, measured, their_full, published)
        return [Relation(of_full.holds, f"Full-FT {of_full.text}")] if of_full else []
    found = [gain(measured, base, published, their_base)]
    if row != "full_ft":
        found.append(keeps(measured, full, published, their_full))
    return [relation for relation in found if relation is not None]


Verdict = tuple[str | None, str]
"""A verdict, None where the paper has nothing to compare with; and why, in words."""


def _seen(holds: bool, why: str, *, own: bool = False) -> Verdict:
    return (REPRODUCED if own else SHAPE_ONLY) if holds else NOT_REPRODUCED, why


def judge(
    measured: Accuracy | None, published: Value, shape: Sequence[Relation], *, own: bool
) -> Verdict:
    """Verdict of an accuracy cell. The rules are in the module's docstring."""
    if measured is None or published is None:
        return (NOT_RUN if measured is None else None), ""
    value = bound_percent(published)
    low, high = measured.ci95
    near = low <= value <= high or abs(measured.percent - value) <= TOLERANCE
    reasons = [relation.text for relation in shape]
    if own and near and high - low <= WIDEST:
        return REPRODUCED, "; ".join([f"paper {value:.1f} agrees", *reasons])
    if own:
        wide = f"interval of {high - low:.1f} points is too wide to reproduce a number"
        reasons.insert(0, wide if near else f"paper {value:.1f} does not agree")
    if not shape:
        reasons.append("the paper shows no relation to compare")
    found = {relation.holds for relation in shape}
    if None in found and False not in found:
        return NOT_RUN, "; ".join(reasons)
    return _seen(found == {True}, "; ".join(reasons))


def judge_size(measured: float | None, published: Value, *, own: bool) -> Verdict:
    """Verdict of a size in percent against the paper's printed bound, as in ">=50%".

    A size agrees from one point below the bound to `SIZE_SLACK` points above it.
    """
    if measured is None or published is None:
        return (NOT_RUN if measured is None else None), ""
    bound = bound_percent(published)
    holds = bound - 1 <= measured <= bound + SIZE_SLACK
    return _seen(holds, f"{measured:.1f}% against {published}", own=own)


def judge_speed(measured: float | None, published: Value, *, own: bool) -> Verdict:
    """Verdict of a number in tokens/s or of a ratio, against the paper's own.

    No verdict for what is not own: tokens/s of another machine say nothing of the paper's.
    """
    if measured is None or published is None or not own:
        return (NOT_RUN if measured is None else None), ""
    value = bound_percent(published)
    away = measured / value - 1
    why = f"{measured:.2f} is {100 * away:+.0f}% from the paper's {value:.2f}"
    return _seen(abs(away) <= SPEED_TOLERANCE, why, own=True)


def judge_relation(ratio: float, spread: tuple[float, float] | None, published: Value) -> Verdict:
    """Verdict on a stand-in: is it faster or slower, as the paper's ratio says?"""
    if published is None:
        return None, ""
    value = bound_percent(published)
    why = f"{ratio:.2f} times as fast, paper {value:.2f} times"
    if abs(value - 1) < RATIO_MARGIN:
        return None, f"{why}: no difference in the paper"
    low, high = spread or (ratio, ratio)
    return _seen(low > 1 if value > 1 else high < 1, why)


def judge_share(measured: float | None, published: float) -> Verdict:
    """Verdict of a share of Full-FT's time, in percent."""
    if measured is None:
        return NOT_RUN, "Full-FT was not run"
    told = f"{measured:.0f}% of Full-FT, paper {published:.0f}%"
    return _seen(abs(measured - published) <= SHARE_SLACK, told)


def judge_longest(measured: float, others: Sequence[float | None]) -> Verdict:
    """Whether Full-FT takes longer than what the paper found to be shorter; minutes."""
    if None in others:
        return NOT_RUN, "what it is compared with was not run"
    told = ", ".join(f"{other:.1f}" for other in others)
    holds = all(other < measured for other in others)
    return _seen(holds, f"Sparse-FT and TrimLLM took {told} min")
