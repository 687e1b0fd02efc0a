"""Verdicts: what a measured cell says about the paper's cell, by fixed rules.

A cell is *own* if it measures the paper's model on the paper's data, and for speed the paper's
shape on the paper's GPU. Everything else is a stand-in. All intervals are 95%.

Own cells are `reproduced` if the published number lies in the interval or within `TOLERANCE`
points, else `not reproduced`; an interval wider than `WIDEST` points that holds it decides nothing.
Stand-ins are judged by the relations that the paper reports, each a difference with its interval:

gain    the difference to the pretrained model has the paper's sign, if the paper's own difference
        is at least `PAPER_MARGIN`, about what its test sets resolve.
keeps   the share of Full-FT's accuracy is at least the paper's, or `KEEPS` (criterion C_a of
        Algorithm 1) if that is less. Not for Pretrained and Full-FT.
loses   Full-FT is better, if in the paper it is, by a share of more than 1 - `KEEPS`.

One relation that fails makes `not seen`, one that the interval leaves open `undecided`, all that
hold `seen`. No verdict: the paper has nothing to compare, or the row is its own yardstick. `not
run`: the cell, or what it is compared with, was not measured. `none`: no trimmed checkpoint keeps
enough. `collapsed`: the interval reaches chance, that of Full-FT does not, and it ends below half
of what Full-FT has above chance.

Speed: an own median is `reproduced` within `SPEED_TOLERANCE`; a stand-in must be faster, or slower,
than the full model as in the paper, if the paper's ratio is at least `RATIO_MARGIN` away from 1.
Training time: shares of Full-FT's time agree within `SHARE_SLACK` points.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from trimllm_paper.context import Domain
from trimllm_paper.derive import Accuracy, Ratio, accuracy
from trimllm_paper.frames import Frame
from trimllm_paper.intervals import mean_interval
from trimllm_paper.published import KEEPS, bound_percent
from trimllm_paper.recipe import FULL_FT, PRETRAINED

REPRODUCED, NOT_REPRODUCED = "reproduced", "not reproduced"
SEEN, NOT_SEEN = "seen on the stand-in", "not seen on the stand-in"
UNDECIDED, COLLAPSED, NOT_RUN, NONE = "undecided", "collapsed", "not run", "none"
MARKS = {
    **{REPRODUCED: "✓", NOT_REPRODUCED: "✗", SEEN: "~", NOT_SEEN: "≁"},
    **{UNDECIDED: "?", COLLAPSED: "↓"},
}

TOLERANCE = 1.0  # points; fine-tuning under another seed moves a number about as far
WIDEST = 10.0  # points; widest interval that can reproduce a number (400 documents at 50%)
PAPER_MARGIN = 2.0  # points; 95% interval of a difference on the paper's 700 to 4,200 documents
SIZE_SLACK = 10.0  # points above the printed bound on the size that still agree with it
SPEED_TOLERANCE = 0.15  # share of the published number by which an own measurement may differ
RATIO_MARGIN = 0.05  # ratios nearer to 1 are no statement: the paper gives no intervals
SHARE_SLACK = 10.0  # points of Full-FT's time by which a share may differ and agree

Verdict = tuple[str | None, str]
"""A verdict, None where the paper has nothing to compare with; and the reason."""


@dataclass(frozen=True)
class Relation:
    """A relation that the paper reports; `holds` None: the interval leaves it open, or, if
    `missing`, it could not be compared."""

    holds: bool | None
    text: str
    missing: bool = False


def above(low: float, high: float, bar: float = 0.0) -> bool | None:
    """Whether a number lies above a bar, by its interval; None if that holds both answers."""
    if low > bar:
        return True
    return False if high < bar else None


def all_of(answers: Iterable[bool | None]) -> bool | None:
    """Whether all hold: False if one fails, else None if one is open or there is none."""
    every = list(answers)
    if False in every:
        return False
    return None if None in every or not every else True


def word(holds: bool | None, *, own: bool = False) -> str:
    """The verdict on what holds, fails, or is open."""
    if holds is None:
        return UNDECIDED
    return (REPRODUCED if holds else NOT_REPRODUCED) if own else (SEEN if holds else NOT_SEEN)


# ---- accuracy ------------------------------------------------------------------------------------


def gain(
    measured: Accuracy, base: Accuracy | None, published: float, published_base: float
) -> list[Relation]:
    """The relation to the pretrained model; none if the paper itself shows no difference."""
    theirs = published - published_base
    if abs(theirs) < PAPER_MARGIN:
        return []
    if base is None:
        return [Relation(None, "the pretrained model was not run", missing=True)]
    ours = measured.minus(base)
    ends = (ours.low, ours.high) if theirs > 0 else (-ours.high, -ours.low)
    return [Relation(above(*ends), f"over pretrained {ours}, paper {theirs:+.1f}")]


def keeps(
    measured: Accuracy, full: Accuracy | None, published: float, published_full: float
) -> list[Relation]:
    """The relations to Full-FT: what is kept of its accuracy, and what is lost."""
    if full is None:
        return [Relation(None, "Full-FT was not run", missing=True)]
    if full.at_chance or not full.percent:
        return [Relation(None, "Full-FT is at chance: there is nothing to keep")]
    theirs, whole = published / published_full, measured.minus(full)
    bar = min(KEEPS, theirs)
    over, share = measured.minus(full, bar), measured.share_of(full)
    text = f"keeps {share:.0f}% of Full-FT, paper {100 * theirs:.0f}%; over {100 * bar:.0f}% of it"
    reported = [Relation(above(over.low, over.high), f"{text} {over}")]
    if theirs <= KEEPS:
        text = f"over Full-FT {whole}, paper {published - published_full:+.1f}"
        reported.append(Relation(above(-whole.high, -whole.low), text))
    return reported


def collapsed(measured: Accuracy, full: Accuracy) -> bool:
    """Whether a model is at chance, and has surely lost most of what Full-FT has above it."""
    if measured.chance is None or not measured.at_chance or full.at_chance:
        return False
    return measured.ci95[1] < (measured.chance + full.percent) / 2


def lost_at_home(elsewhere: Accuracy, frame: Frame, domains: Iterable[Domain]) -> bool:
    """Whether a model, known by its answers to another test, has lost its own domain: it has
    collapsed there, or surely answers less than the pretrained model."""
    of = elsewhere.tasks[0]
    for domain in domains:
        if domain.name == of.domain:
            recipes, place = (of.recipe, FULL_FT, PRETRAINED), (frame, of.model, domain.name)
            own, full, base = (accuracy(*place, recipe, domain.tasks) for recipe in recipes)
            below = own and base and own.minus(base).high < 0
            return bool(below or (own and full and collapsed(own, full)))
    return False


def judge(
    measured: Accuracy,
    value: float,
    shape: Sequence[Relation],
    *,
    own: bool,
    preserves: Accuracy | None = None,
) -> Verdict:
    """Verdict of an accuracy against the paper's; `preserves`: Full-FT if the model should keep
    what that learned."""
    low, high = measured.ci95
    inside = low <= value <= high or abs(measured.percent - value) <= TOLERANCE
    reasons = "; ".join(["", *(relation.text for relation in shape)])
    agrees = f"paper {value:.1f} {'agrees' if inside else 'does not agree'}"
    if preserves is not None and collapsed(measured, preserves):
        lost = f"at chance ({low:.1f} to {high:.1f}, by guessing {measured.chance:.1f})"
        return COLLAPSED, lost + (f"; {agrees}" if own else "") + reasons
    if own:
        wide = inside and high - low > WIDEST
        wider = f"interval of {high - low:.1f} points is too wide to reproduce a number"
        return word(None if wide else inside, own=True), (wider if wide else agrees) + reasons
    if not shape:
        return None, "the paper shows no relation to compare"
    holds = all_of(relation.holds for relation in shape)
    missing = holds is not False and any(relation.missing for relation in shape)
    return NOT_RUN if missing else word(holds), reasons.removeprefix("; ")


# ---- size, speed, time ---------------------------------------------------------------------------


def judge_size(
    measured: float, published: float | str, *, own: bool, part: bool = False
) -> Verdict:
    """Verdict of a size in percent against the paper's printed bound, as in ">=50%".

    A size agrees from a point below the bound to `SIZE_SLACK` above. The largest of a `part` of the
    domains may be larger in all of them: it decides nothing unless it lies above that.
    """
    bound, why = bound_percent(published), f"{measured:.1f}% against {published}"
    if part and measured <= bound + SIZE_SLACK:
        return UNDECIDED, f"{why}, of a part of the domains"
    return word(bound - 1 <= measured <= bound + SIZE_SLACK, own=own), why


def judge_speed(measured: float, value: float) -> Verdict:
    """Verdict of the paper's model on the paper's GPU: tokens/s, or a ratio."""
    away = measured / value - 1
    why = f"{measured:.2f} is {100 * away:+.0f}% from the paper's {value:.2f}"
    return word(abs(away) <= SPEED_TOLERANCE, own=True), why


def judge_ratio(ratio: Ratio, value: float) -> Verdict:
    """Verdict on a stand-in: is it faster or slower, as the paper's ratio says?"""
    ours, low, high = ratio
    around = "(one round: no interval)" if math.isnan(low) else f"({low:.2f} to {high:.2f})"
    why = f"{ours:.2f} {around} times as fast, paper {value:.2f} times"
    if abs(value - 1) < RATIO_MARGIN:
        return None, f"{why}: no difference in the paper"
    return word(above(low, high, 1) if value > 1 else above(-high, -low, -1)), why


def judge_share(shares: Sequence[float], published: float) -> Verdict:
    """Verdict of a share of Full-FT's time, in percent, by seed."""
    if not shares:
        return NOT_RUN, "Full-FT was not run"
    low, high = mean_interval(shares)
    around = f"{low:.0f} to {high:.0f}" if len(shares) > 1 else "one run: no interval"
    why = f"{fmean(shares):.0f} ({around})% of Full-FT, paper {published:.0f}%"
    ends = published - SHARE_SLACK, published + SHARE_SLACK
    return word(all_of([above(low, high, ends[0]), above(-high, -low, -ends[1])])), why
