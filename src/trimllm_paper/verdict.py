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
"""

from __future__ import annotations

from dataclasses import dataclass

from trimllm_paper.measured import Accuracy
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


@dataclass(frozen=True)
class Relation:
    """A statement of the paper and whether ours shows it; None: it could not be compared."""

    holds: bool | None
    text: str


@dataclass(frozen=True)
class Anchors:
    """Baselines of a column: measured ones (None: not run) and the published ones."""

    pretrained: Accuracy | None
    full_ft: Accuracy | None
    published_pretrained: float
    published_full_ft: float


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
    if full is None:
        return Relation(None, "Full-FT was not run")
    if full.right == 0:
        return Relation(None, "Full-FT has no right answer")
    ours, theirs = measured.percent / full.percent, published / published_full
    return Relation(
        (ours > KEEPS) == (theirs > KEEPS),
        f"keeps {100 * ours:.0f}% of Full-FT, paper {100 * theirs:.0f}%",
    )


def relations(row: str, measured: Accuracy, published: float, anchors: Anchors) -> list[Relation]:
    """What the paper reports about a row of its main tables, relative to the baselines."""
    if row == "pretrained":
        if anchors.full_ft is None:
            return [Relation(None, "Full-FT was not run")]
        of_full = gain(anchors.full_ft, measured, anchors.published_full_ft, published)
        return [Relation(of_full.holds, f"Full-FT {of_full.text}")] if of_full else []
    found = [gain(measured, anchors.pretrained, published, anchors.published_pretrained)]
    if row != "full_ft":
        found.append(keeps(measured, anchors.full_ft, published, anchors.published_full_ft))
    return [relation for relation in found if relation is not None]


def judge(
    measured: Accuracy | None,
    published: Value,
    shape: list[Relation],
    *,
    own: bool,
) -> tuple[str | None, str]:
    """Verdict of an accuracy cell and, in words, why. The rules are in the module's docstring."""
    if measured is None:
        return NOT_RUN, ""
    if published is None:
        return None, ""
    value = bound_percent(published)
    low, high = measured.ci95
    near = low <= value <= high or abs(measured.percent - value) <= TOLERANCE
    reasons = [relation.text for relation in shape]
    if own and near and high - low <= WIDEST:
        return REPRODUCED, "; ".join([f"paper {value:.1f} agrees", *reasons])
    if own:
        wide = f"interval of {high - low:.1f} points is too wide to reproduce a number"
        reasons.insert(0, wide if near else f"paper {value:.1f} does not agree")
    if any(relation.holds is False for relation in shape):
        return NOT_REPRODUCED, "; ".join(reasons)
    if not shape:
        return NOT_REPRODUCED, "; ".join([*reasons, "the paper shows no relation to compare"])
    if any(relation.holds is None for relation in shape):
        return NOT_RUN, "; ".join(reasons)
    return SHAPE_ONLY, "; ".join(reasons)


def judge_size(measured: float | None, published: Value, *, own: bool) -> tuple[str | None, str]:
    """Verdict of a size in percent against the paper's printed bound, as in ">=50%".

    A size agrees from one point below the bound to `SIZE_SLACK` points above it.
    """
    if measured is None:
        return NOT_RUN, ""
    if published is None:
        return None, ""
    bound = bound_percent(published)
    if not bound - 1 <= measured <= bound + SIZE_SLACK:
        return NOT_REPRODUCED, f"{measured:.1f}% against {published}"
    return (REPRODUCED if own else SHAPE_ONLY), f"{measured:.1f}% against {published}"
