"""What a table is made of: columns, rows, and the table itself (`tables.py` has all of them)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from trimllm_paper import published
from trimllm_paper.context import Domain, Model


@dataclass(frozen=True)
class Column:
    """A column.

    Attributes:
        shows: `accuracy` or `difference` (to the first chain) on `domain`; `size` or `speed`: the
            figure `of` an accuracy or a measurement of throughput; `time` of training `epochs`:
            `of` minutes, share (of Full-FT's) or scans (likewise).
        printed: the paper's column, if not `key`; its numbers stand `times` so many, divided by
            that of row `over`, or dividing that of row `under`.
    """

    key: str
    label: str
    shows: str = "accuracy"
    of: str = ""
    digits: int = 1
    unit: str = ""
    domain: Domain | None = None
    epochs: int = 0
    printed: str = ""
    times: float = 1
    over: str = ""
    under: str = ""


@dataclass(frozen=True)
class Row:
    """A row: one recipe.

    Attributes:
        recipe: a fixed one; else of the `names` (chains, patterns, rules) the first measured, at
            `kept` percent of the sublayers, or the `smallest` above the bar; with `compressor`.
        trained: the domain that it was trained on, if not the column's.
        paper: its row of the paper's table, if not `key` (BLOCK/ROW in Table 6).
        evaluate: whether the row is evaluated; else it shows what other rows evaluate.
    """

    key: str
    label: str
    recipe: str = ""
    names: tuple[str, ...] = ()
    kept: float = 0
    smallest: bool = False
    compressor: str | None = None
    trained: str = ""
    section: str = ""
    paper: str = ""
    format: str = ""
    batch: int = 1
    evaluate: bool = True


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        blocks: one a `model`; one a `machine` and model that was timed; one a model and machine,
            also where it was not timed (`both`); or one a model and machine timed in an `engine`.
        also: rows that are evaluated for a figure or a verdict and not shown.
        compared: the paper's model that stand-ins are shown beside.
        baselines: the paper's table with its Pretrained and Full-FT, if not this one.
        trained: domains that its models are specialized on, where columns are other ones.
        gpus: machine -> block of the paper's table; stand-ins are shown beside the first.
    """

    key: str
    title: str
    models: tuple[Model, ...]
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    header: tuple[str, ...] = ()
    blocks: str = "model"
    also: tuple[Row, ...] = ()
    compared: str = "llama-7b"
    baselines: str = ""
    trained: tuple[str, ...] = ()
    gpus: Mapping[str, str] = field(default_factory=dict)

    @property
    def paper(self) -> published.PublishedTable:
        """The paper's numbers; none for a table that the paper does not have."""
        return published.table(self.key)
