"""A table of the paper, any of them: blocks of rows of cells, each measured, published, judged.

A block belongs to one model. Its measured numbers and the published ones never share a line: each
recipe has a line of ours and, under it, a line that names the paper and the paper's model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from trimllm_paper.published import Value

Scalar = str | int | float | None


@dataclass(frozen=True)
class Cell:
    """One cell: what was measured, what the paper prints, and what the one says of the other."""

    measured: float | None = None
    published: Value = None
    verdict: str | None = None
    """None where the paper publishes nothing that the measurement could be compared with."""
    n: int | None = None
    ci95: tuple[float, float] | None = None
    spread: tuple[float, float] | None = None
    """Smallest and largest, or the quartiles, of the values that `measured` stands for."""
    deviation: float | None = None
    """Standard deviation over seeds, where `measured` is the mean of several."""
    why: str = ""
    sources: tuple[str, ...] = ()
    """Files behind the number: the first step of the walk back."""
    details: Mapping[str, Scalar] = field(default_factory=dict)
    """What else the CSV shall hold, by column name."""


@dataclass(frozen=True)
class Column:
    """One column. `stand_in` says what was really measured where it is not the paper's data."""

    key: str
    label: str
    short: str | None = None
    digits: int = 1
    interval_digits: int | None = None
    """Digits of what stands in brackets; None leaves it to the form of the table."""
    unit: str = ""
    """Printed after the number."""
    stand_in: str | None = None
    terminal: bool = True
    """False: left out of the plain text, which has to fit a terminal."""


@dataclass(frozen=True)
class Row:
    """One recipe. A `section` is printed as a line of its own when it changes."""

    key: str
    label: str
    cells: Mapping[str, Cell]
    section: str | None = None


@dataclass(frozen=True)
class Block:
    """The rows of one model. `published_as` names the paper's model on the published lines."""

    key: str
    label: str
    rows: tuple[Row, ...]
    published_as: str | None = None
    is_paper: bool = False
    """True where the model is the paper's own."""

    @property
    def measured(self) -> bool:
        """Whether anything in the block was measured."""
        return any(c.measured is not None for row in self.rows for c in row.cells.values())


@dataclass(frozen=True)
class Table:
    """A whole table: `header` says above it what it stands on, `notes` below how it was made."""

    key: str
    title: str
    columns: tuple[Column, ...]
    blocks: tuple[Block, ...]
    header: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    brackets: str = "95% interval"
    """What stands in brackets after a value."""

    def __post_init__(self) -> None:
        keys = {column.key for column in self.columns}
        for block in self.blocks:
            for row in block.rows:
                if set(row.cells) != keys:
                    raise ValueError(f"{block.key}, {row.key}: cells {set(row.cells) ^ keys}")

    def cell(self, block: str, row: str, column: str) -> Cell:
        """One cell by its keys. Raises `KeyError` where there is none."""
        for candidate in self.blocks:
            for line in candidate.rows:
                if (candidate.key, line.key) == (block, row):
                    return line.cells[column]
        raise KeyError(f"{block}, {row}")
