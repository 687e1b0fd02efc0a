"""Verdicts: what a measured cell says about the paper's cell. Computed, never written by hand.

A cell is *own* when the paper's own model was measured on the column's own data set (and, of speed,
on the paper's hardware); everything else is a stand-in. Words:

`reproduced`, `not reproduced` (own cells only)
    the published number p lies in the 95% interval of the measured one, or within `TOLERANCE`
    points of it, and the interval is no wider than `WIDEST` points; or p lies outside of both.
    Where p lies inside of a wider interval, a handful of documents agrees with everything:
    `undecided`.
`seen on the stand-in`, `not seen on the stand-in`, `undecided`
    the number does not stand for the paper's; asked is whether what the paper reports of the cell,
    relative to the baselines, holds here:
    - *gain*: the difference to the pretrained model has the paper's sign. Asked only where the
      paper's own difference is at least `PAPER_MARGIN` points, about what its test sets resolve.
      The pretrained row, which has no such difference, is judged by the gain of Full-FT.
    - *keeps*: of Full-FT's accuracy as large a share is left as in the paper, but never more is
      asked than `KEEPS` (the paper's own criterion C_a of Algorithm 1). Not asked of the pretrained
      and the Full-FT row.
    - *loses*: Full-FT is better, where it is in the paper, by a share of more than 1 - `KEEPS`.
    Each is a difference with its interval of 95%: it holds if the interval lies on its side of 0,
    fails if it lies on the other, and is undecided if it holds both answers. One that fails is
    enough for `not seen`, one that is undecided for `undecided`.
`collapsed`
    the model is no better than blind guessing (its interval reaches down to chance) although
    Full-FT is, and the interval ends below half of what that has above chance: most of what it
    should preserve is lost, whatever the paper's number, on its own model as on others. An interval
    that is wide because seeds differ says no such thing. Not said of the baselines and of tests
    that a model was not specialized for. What a model loses there is no sign of specialization if
    it has lost its own domain, too (it has collapsed, or surely answers less than the untrained
    one), and leaves the cell `undecided`.
`not run`
    the cell, or a cell that it has to be compared with, was not measured.

A cell for which the paper publishes nothing, or shows no difference, has no verdict.

Throughput: own is the paper's model shape on the paper's GPU, and then `reproduced` a median within
`SPEED_TOLERANCE` of the paper's (software of other years is faster or slower by more). Elsewhere
`seen`: faster than the full model, or slower, as in the paper, by the whole of the quartiles; asked
only where the paper's ratio is `RATIO_MARGIN` away from 1; quartiles that hold 1 decide nothing.

Time of training depends on the machine, and nobody has the paper's: shares of Full-FT's time agree
within `SHARE_SLACK` points, and Full-FT itself where the others take less, by the whole of their
intervals over runs (a t interval over seeds); one run has none, and is `undecided`.

A size is judged where it is found: of what is compressed, and of the smallest checkpoint above a
bar. That Full-FT has all units, and TrimLLM (50%) half of them, was asked for.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from trimllm_paper.context import Domain
from trimllm_paper.derive import Accuracy, accuracy
from trimllm_paper.frames import Frame
from trimllm_paper.intervals import mean_interval
from trimllm_paper.published import Value, bound_percent
from trimllm_paper.recipe import FULL_FT, PRETRAINED

REPRODUCED = "reproduced"
NOT_REPRODUCED = "not reproduced"
SEEN = "seen on the stand-in"
NOT_SEEN = "not seen on the stand-in"
UNDECIDED = "undecided"
COLLAPSED = "collapsed"
NOT_RUN = "not run"
MARKS = {
    **{REPRODUCED: "✓", NOT_REPRODUCED: "✗", SEEN: "~", NOT_SEEN: "≁"},
    **{UNDECIDED: "?", COLLAPSED: "↓"},
}

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
    """A statement of the paper and whether ours shows it.

    `holds` None: the interval holds both answers, or, where `missing`, it could not be compared.
    """

    holds: bool | None
    text: str
    missing: bool = False


def above(low: float, high: float, bar: float = 0.0) -> bool | None:
    """Whether a number lies above a bar, by its interval; None where that holds both answers."""
    if low > bar:
        return True
    return False if high < bar else None


def all_of(answers: Iterable[bool | None]) -> bool | None:
    """Whether all hold: one that fails refutes, one that is open leaves it open; none: open."""
    found = list(answers)
    if False in found:
        return False
    return None if None in found or not found else True


def gain(
    measured: Accuracy, base: Accuracy | None, published: float, published_base: float
) -> Relation | None:
    """The relation to the pretrained model; None where the paper itself shows no difference."""
    theirs = published - published_base
    if abs(theirs) < PAPER_MARGIN:
        return None
    if base is None:
        return Relation(None, "the pretrained model was not run", missing=True)
    ours = measured.minus(base)
    ends = (ours.low, ours.high) if theirs > 0 else (-ours.high, -ours.low)
    return Relation(above(*ends), f"over pretrained {ours}, paper {theirs:+.1f}")


def keeps(
    measured: Accuracy, full: Accuracy | None, published: float, published_full: float
) -> list[Relation]:
    """The relation to full fine-tuning: what is kept of its accuracy, and what is lost."""
    if full is None or full.percent == 0:
        text = "Full-FT has no right answer" if full else "Full-FT was not run"
        return [Relation(None, text, missing=True)]
    if full.at_chance:
        return [Relation(None, "Full-FT is at chance: there is nothing to keep")]
    theirs = published / published_full
    bar, whole = min(KEEPS, theirs), measured.minus(full)
    over = measured.minus(full, bar)
    told = (
        f"keeps {100 * measured.percent / full.percent:.0f}% of Full-FT, paper "
        f"{100 * theirs:.0f}%; over {100 * bar:.0f}% of it {over}"
    )
    found = [Relation(above(over.low, over.high), told)]
    if theirs <= KEEPS:
        text = f"over Full-FT {whole}, paper {published - published_full:+.1f}"
        found.append(Relation(above(-whole.high, -whole.low), text))
    return found


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
            return [Relation(None, "Full-FT was not run", missing=True)]
        of_full = gain(full, measured, their_full, published)
        return [Relation(of_full.holds, f"Full-FT {of_full.text}")] if of_full else []
    found = [gain(measured, base, published, their_base)]
    if row != "full_ft":
        found += keeps(measured, full, published, their_full)
    return [relation for relation in found if relation is not None]


Verdict = tuple[str | None, str]
"""A verdict, None where the paper has nothing to compare with; and why, in words."""


def word(holds: bool | None, *, own: bool = False) -> str:
    """The verdict on what holds, does not hold, or is undecided."""
    if holds is None:
        return UNDECIDED
    return (REPRODUCED if holds else NOT_REPRODUCED) if own else (SEEN if holds else NOT_SEEN)


def collapsed(measured: Accuracy, full: Accuracy) -> bool:
    """Whether a model is at chance, and lost most of what Full-FT has above it for sure."""
    if measured.chance is None or not measured.at_chance or full.at_chance:
        return False
    return measured.ci95[1] < (measured.chance + full.percent) / 2


def lost_at_home(found: Accuracy, frame: Frame, domains: Iterable[Domain]) -> bool:
    """Whether a model, known by its answers to another test, has lost the domain it is of."""
    of = found.tasks[0]
    for domain in domains:
        if domain.name == of.domain:
            recipes, place = (of.recipe, FULL_FT, PRETRAINED), (frame, of.model, domain.name)
            own, full, base = (accuracy(*place, recipe, domain.tasks) for recipe in recipes)
            below = own and base and own.minus(base).high < 0
            return bool(below or (own and full and collapsed(own, full)))
    return False


def of_a_lost(relation: Relation) -> Relation:
    """What another domain's test shows of a model that has lost its own."""
    lost = "it has lost its own domain: what it loses elsewhere is no sign of specialization"
    return replace(relation, holds=None, text=f"{lost}; {relation.text}")


def judge(
    measured: Accuracy | None,
    published: Value,
    shape: Sequence[Relation],
    *,
    own: bool,
    preserves: Accuracy | None = None,
) -> Verdict:
    """Verdict of an accuracy cell. The rules are in the module's docstring.

    `preserves` is Full-FT where the cell's model should have kept what that has learned.
    """
    if measured is None or published is None:
        return (NOT_RUN if measured is None else None), ""
    value = bound_percent(published)
    low, high = measured.ci95
    inside = low <= value <= high or abs(measured.percent - value) <= TOLERANCE
    reasons = [relation.text for relation in shape]
    told = f"paper {value:.1f} {'agrees' if inside else 'does not agree'}"
    if preserves is not None and collapsed(measured, preserves):
        lost = f"at chance ({low:.1f} to {high:.1f}, by lot {measured.chance:.1f})"
        return COLLAPSED, "; ".join([lost, *([told] if own else []), *reasons])
    if own:
        wide = inside and high - low > WIDEST
        wider = f"interval of {high - low:.1f} points is too wide to reproduce a number"
        why = "; ".join([wider if wide else told, *reasons])
        return word(None if wide else inside, own=True), why
    if not shape:
        return None, "the paper shows no relation to compare"
    failed = any(relation.holds is False for relation in shape)
    if not failed and any(relation.missing for relation in shape):
        return NOT_RUN, "; ".join(reasons)
    return word(all_of(relation.holds for relation in shape)), "; ".join(reasons)


def judge_size(
    measured: float | None, published: Value, *, own: bool, part: bool = False
) -> Verdict:
    """Verdict of a size in percent against the paper's printed bound, as in ">=50%".

    A size agrees from one point below the bound to `SIZE_SLACK` points above it. The largest of a
    `part` of the domains may be larger in all, and decides nothing unless it lies above that.
    """
    if measured is None or published is None:
        return (NOT_RUN if measured is None else None), ""
    bound = bound_percent(published)
    why = f"{measured:.1f}% against {published}"
    if part and measured <= bound + SIZE_SLACK:
        return UNDECIDED, f"{why}, of a part of the domains"
    return word(bound - 1 <= measured <= bound + SIZE_SLACK, own=own), why


def judge_speed(measured: float | None, published: Value, *, own: bool) -> Verdict:
    """Verdict of a number in tokens/s or of a ratio, against the paper's own.

    No verdict for what is not own: tokens/s of another machine say nothing of the paper's.
    """
    if measured is None or published is None or not own:
        return (NOT_RUN if measured is None else None), ""
    value = bound_percent(published)
    away = measured / value - 1
    why = f"{measured:.2f} is {100 * away:+.0f}% from the paper's {value:.2f}"
    return word(abs(away) <= SPEED_TOLERANCE, own=True), why


def judge_relation(ratio: float, spread: tuple[float, float] | None, published: Value) -> Verdict:
    """Verdict on a stand-in: is it faster or slower, as the paper's ratio says?

    `spread` are its quartiles; without any nothing is decided.
    """
    if published is None:
        return None, ""
    value, (low, high) = bound_percent(published), spread or (-math.inf, math.inf)
    around = f"({low:.2f} to {high:.2f})" if spread else "(no quartiles)"
    why = f"{ratio:.2f} {around} times as fast, paper {value:.2f} times"
    if abs(value - 1) < RATIO_MARGIN:
        return None, f"{why}: no difference in the paper"
    return word(above(low, high, 1) if value > 1 else above(-high, -low, -1)), why


def judge_share(shares: Sequence[float], published: float) -> Verdict:
    """Verdict of a share of Full-FT's time, in percent, by run; none: it was not run."""
    if not shares:
        return NOT_RUN, "Full-FT was not run"
    low, high = mean_interval(shares)
    told = f"{_mean(shares, 0)}% of Full-FT, paper {published:.0f}%"
    ends = published - SHARE_SLACK, published + SHARE_SLACK
    return word(all_of([above(low, high, ends[0]), above(-high, -low, -ends[1])])), told


def judge_longest(measured: Sequence[float], others: Sequence[Sequence[float]]) -> Verdict:
    """Whether Full-FT takes longer than what the paper found to be shorter; minutes, by run."""
    if not others or not all(others):
        return NOT_RUN, "what it is compared with was not run"
    if any(len(other) != len(measured) for other in others):
        return UNDECIDED, "runs that cannot be paired"
    longer = [[a - b for a, b in zip(measured, other, strict=True)] for other in others]
    told = ", ".join(_mean(one) for one in longer)
    holds = all_of(above(*mean_interval(one)) for one in longer)
    return word(holds), f"{told} min longer than Sparse-FT and TrimLLM"


def _mean(runs: Sequence[float], digits: int = 1) -> str:
    """A mean over runs with its interval, which one run does not have."""
    low, high = mean_interval(runs)
    around = f"{low:.{digits}f} to {high:.{digits}f}" if len(runs) > 1 else "one run: no interval"
    return f"{fmean(runs):.{digits}f} ({around})"
