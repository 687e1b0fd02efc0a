"""Numbers of the paper that cannot both be right, and where they stand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache

from trimllm_paper import published
from trimllm_paper.derive import FULL_EPOCHS, SPARSE_FACTOR
from trimllm_paper.published import bound_percent
from trimllm_paper.verdict import KEEPS

SAYS = {
    "up to 3.1x on A100, compared to compression algorithms": ("abstract", 3.1),
    "no loss in accuracy at 50 to 60% compression": ("abstract", KEEPS),
    "more than 16 of 32 decoder layers dropped": ("section A.4", 16.0),
    "as much as 8x in memory, and 4.5x faster, with AWQ": ("section 4.3", 8.0),
    "one layer (or two) after each epoch, by Eq. 5 and 6": ("section A.5", SPARSE_FACTOR),
    "5 epochs of full fine-tuning": ("section A.5, Figure 4", float(FULL_EPOCHS)),
}
"""A sentence of the paper -> its place and number."""


@dataclass(frozen=True)
class Contradiction:
    """Numbers that cannot both be right.

    Attributes:
        text: what is wrong, in a sentence that holds the numbers.
        numbers: place -> number, two at least.
        claims: ids of the claims that it speaks against.
    """

    text: str
    numbers: dict[str, float]
    claims: tuple[str, ...] = ()
    tables: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        named = sorted({place.split(",")[0] for place in self.numbers})
        keys = [place.lower().replace(" ", "") for place in named if place.startswith("Table ")]
        object.__setattr__(self, "tables", tuple(keys))


Check = Callable[[], Iterator[Contradiction]]
CHECKS: list[Check] = []


def check(function: Check) -> Check:
    """Enter a check."""
    CHECKS.append(function)
    return function


@cache
def found() -> tuple[Contradiction, ...]:
    """All contradictions, in the order of the checks."""
    return tuple(one for check in CHECKS for one in check())


def of_table(table: str) -> tuple[str, ...]:
    """Those of one table, in words; first those whose words name it."""
    named = f"Table {table.removeprefix('table')},"
    mine = (one.text for one in found() if table in one.tables)
    return tuple(sorted(mine, key=lambda text: named not in text))


def of_claim(claim: str) -> tuple[str, ...]:
    """Those that speak against a claim, in words."""
    return tuple(one.text for one in found() if claim in one.claims)


def place(table: str, *rest: str) -> str:
    """A place in words: "Table 2, llama-7b, full_ft, lexglue"."""
    return ", ".join([f"Table {table.removeprefix('table')}", *filter(None, rest)])


def number(table: str, row: str, column: str, block: str = "") -> float:
    """A printed number or bound. Raises `KeyError` where there is none."""
    value = published.table(table).value(row, column, block)
    if value is None:
        raise KeyError(f"{table} prints nothing for {row}, {column}")
    return bound_percent(value)


def quoted(sentence: str) -> tuple[str, float]:
    """Place and number of a sentence."""
    where, value = SAYS[sentence]
    return f"{where}: “{sentence}”", value
