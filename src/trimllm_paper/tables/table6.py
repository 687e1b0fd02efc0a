"""Table 6: criteria against the sparse update ratio r."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from trimllm_paper import published
from trimllm_paper.measured import Results
from trimllm_paper.tables.columns import Domain, all_columns, paper_notes, seed_notes
from trimllm_paper.tables.criteria import NOTE, Criteria, Model, section_of
from trimllm_paper.tables.notes import column_notes, provenance_notes
from trimllm_paper.tables.table import Row, Table

PAPER = published.table("table6")


def block_of(ratio: float) -> str:
    """Key of a ratio in the paper's table: 0.25 -> "r_1_4"."""
    exact = Fraction(ratio).limit_denominator(1000)
    return f"r_{exact.numerator}" + (f"_{exact.denominator}" if exact.denominator > 1 else "")


def build(
    evals: Iterable[str | Path],
    models: Sequence[Mapping[str, Any]],
    domains: Sequence[Domain],
    *,
    criteria: Sequence[str],
    ratios: Sequence[float],
    drops_per_epoch: int,
    seed: int | None = None,
) -> Table:
    """Table 6 from evaluation files; arguments as in `table3.build`.

    Raises:
        UserError: files that contradict their path, themselves or each other.
    """
    results = Results(evals)
    grid = Criteria(results, PAPER, all_columns(PAPER, domains), drops_per_epoch)
    blocks = [
        grid.block(model, _rows(grid, model, criteria, ratios)) for model in map(Model.of, models)
    ]
    return Table(
        key="table6",
        title="Table 6: accuracy (%) by criterion and sparse update ratio r",
        columns=grid.columns,
        blocks=tuple(blocks),
        header=grid.header(models),
        notes=(
            NOTE,
            "Pretrained and Full-FT, with which the rows are compared, stand in Table 3",
            *paper_notes("table6"),
            *column_notes(grid.columns[:-2], blocks),
            *seed_notes(results),
            *provenance_notes(results.measurements, seed),
        ),
    )


def _rows(
    grid: Criteria, model: Model, criteria: Sequence[str], ratios: Sequence[float]
) -> list[Row]:
    rows = []
    for ratio in sorted(ratios, reverse=True):
        block = block_of(ratio)
        for criterion in sorted(criteria, key=lambda c: section_of(c) is not None):
            row = grid.chosen_row(model, criterion, ratio, key=f"{block}/{criterion}", block=block)
            mark = f"; {row.section}" if row.section else ""
            rows.append(
                replace(row, section=f"r = {Fraction(ratio).limit_denominator(1000)}{mark}")
            )
    return rows
