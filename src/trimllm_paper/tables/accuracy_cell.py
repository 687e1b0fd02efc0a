"""A cell of accuracy with its verdict, as all tables of accuracy have it."""

from __future__ import annotations

from collections.abc import Sequence

from trimllm_paper.measured import Accuracy
from trimllm_paper.published import Value
from trimllm_paper.tables.table import Cell, Scalar
from trimllm_paper.verdict import NOT_RUN, Anchors, Relation, judge, relations


def accuracy_cell(
    accuracy: Accuracy | None, row: str, printed: Value, anchors: Anchors, *, own: bool
) -> Cell:
    """What was measured beside what the paper prints, judged relative to the column's baselines.

    Args:
        accuracy: the measured column, or None.
        row: key of the row, which decides what it is compared with (see `verdict.relations`).
        printed: the paper's number, or None.
        anchors: the column's baselines; the published ones are used only where `printed` is given.
        own: whether model and data are the paper's.
    """
    if accuracy is None:
        return Cell(published=printed, verdict=NOT_RUN)
    shape = relations(row, accuracy, printed, anchors) if printed is not None else []
    details = _details(accuracy, anchors.pretrained, anchors.full_ft)
    return judged_cell(accuracy, printed, shape, details, own=own)


def judged_cell(
    accuracy: Accuracy,
    printed: Value,
    shape: Sequence[Relation],
    details: dict[str, Scalar],
    *,
    own: bool,
) -> Cell:
    """A measured cell with the verdict that its relations give (see `verdict.judge`)."""
    result, why = judge(accuracy, printed, shape, own=own)
    return Cell(
        measured=accuracy.percent,
        published=printed,
        verdict=result,
        n=accuracy.n,
        ci95=accuracy.ci95,
        deviation=accuracy.deviation,
        why=why,
        sources=accuracy.sources,
        details=details,
    )


def _details(accuracy: Accuracy, base: Accuracy | None, full: Accuracy | None) -> dict[str, Scalar]:
    """What only the CSV shows: the checkpoint, its size, and the differences to the baselines."""
    first, megabytes = accuracy.tasks[0], accuracy.megabytes
    found: dict[str, Scalar] = {
        "recipe": first.recipe,
        "tasks": ";".join(dict.fromkeys(task.task for task in accuracy.tasks)),
        "seeds": ";".join(map(str, accuracy.by_seed)),
        "kept_percent": accuracy.kept_percent,
        "weight_bytes": None if megabytes is None else round(1e6 * megabytes),
        "bytes_percent": accuracy.bytes_percent,
        "chance": accuracy.chance,
    }
    for name, other in (("minus_pretrained", base), ("minus_full_ft", full)):
        difference = accuracy.minus(other) if other and other.tasks != accuracy.tasks else None
        found[name] = difference.points if difference else None
        found[f"{name}_low"] = difference.low if difference else None
        found[f"{name}_high"] = difference.high if difference else None
        found[f"{name}_paired"] = str(difference.paired).lower() if difference else None
    return found
