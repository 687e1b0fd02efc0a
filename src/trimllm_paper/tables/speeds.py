"""Verdicts on throughput: what a measured speed says about the paper's, and about its prediction.

A cell is *own* when the paper's model shape was timed on the paper's GPU:

`reproduced` (own cells only)
    the median is within `TOLERANCE` of the paper's number (software of other years is faster or
    slower by more than that, and then the number is not reproduced).
`shape only`
    on other hardware or another model: faster than the full model, or slower, as in the paper, by
    the whole of the quartiles. Asked only where the paper's own ratio is at least `PAPER_MARGIN`
    away from 1.
`not reproduced`
    anything else.
`not run`
    not measured.

The paper predicts no speed. That a trimmed model's decoding should gain what its bytes do, and its
prefill what its operations do, is our own yardstick (`trimllm.throughput.predict`).
"""

from __future__ import annotations

from collections.abc import Mapping

from trimllm.throughput.predict import predicted
from trimllm_paper.published import Value, bound_percent
from trimllm_paper.timings import Timing
from trimllm_paper.verdict import NOT_REPRODUCED, NOT_RUN, REPRODUCED, SHAPE_ONLY

SPEEDUPS = {"decode": "speedup", "prefill": "prefill_speedup"}
"""What is timed -> the name of its speedup in a measurement."""
ENOUGH = 90
"""Percent of its predicted speedup that a trimmed model should reach."""

TOLERANCE = 0.15
"""Share of the published number by which an own measurement may differ."""
PAPER_MARGIN = 0.05
"""Ratios nearer to 1 than this are no statement: the paper gives no intervals."""


def judge_speed(measured: float | None, printed: Value, *, own: bool) -> tuple[str | None, str]:
    """Verdict of a number in tokens/s or of a ratio, against the paper's own; and why.

    No verdict for what is not own: tokens/s of another machine say nothing of the paper's.
    """
    if measured is None:
        return NOT_RUN, ""
    if printed is None or not own:
        return None, ""
    value = bound_percent(printed)
    away = measured / value - 1
    why = f"{measured:.2f} is {100 * away:+.0f}% from the paper's {value:.2f}"
    return (REPRODUCED if abs(away) <= TOLERANCE else NOT_REPRODUCED), why


def judge_relation(
    ratio: float, spread: tuple[float, float] | None, printed: Value
) -> tuple[str | None, str]:
    """Verdict on a stand-in: is it faster or slower, as the paper's ratio says?"""
    if printed is None:
        return None, ""
    value = bound_percent(printed)
    why = f"{ratio:.2f} times as fast, paper {value:.2f} times"
    if abs(value - 1) < PAPER_MARGIN:
        return None, f"{why}: no difference in the paper"
    low, high = spread or (ratio, ratio)
    holds = low > 1 if value > 1 else high < 1
    return (SHAPE_ONLY if holds else NOT_REPRODUCED), why


def expected(timing: Timing) -> dict[str, tuple[float, float]]:
    """Predicted speedup, and percent of it that was reached, of `decode` and of `prefill`.

    Without what the measurement does not record, and empty for the full model itself.
    """
    found = predicted(timing.content)
    return {
        part: (found[f"predicted_{name}"], 100 * found[f"share_of_predicted_{name}"])
        for part, name in SPEEDUPS.items()
        if f"predicted_{name}" in found
    }


def prediction_notes(label: str, trimmed: Mapping[str, Timing]) -> tuple[str, ...]:
    """What is predicted of a block's trimmed models, by row, and which stay below `ENOUGH`."""
    found = {row: expected(timing) for row, timing in trimmed.items()}
    speedups = [
        f"{row} {' / '.join(f'{speedup:.2f}×' for speedup, _ in parts.values())}"
        for row, parts in found.items()
        if parts
    ]
    low = [
        f"{row} {part} ({percent:.0f}%)"
        for row, parts in found.items()
        for part, (_, percent) in parts.items()
        if percent < ENOUGH
    ]
    if not speedups:
        return ()
    both = " / ".join(dict.fromkeys(part for parts in found.values() for part in parts))
    notes = [f"{label}: predicted over full, {both}: {', '.join(speedups)}"]
    if low:
        notes.append(f"{label}: below {ENOUGH}% of the prediction: {', '.join(low)}")
    return tuple(notes)
