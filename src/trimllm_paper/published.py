"""The numbers that the paper publishes, by table, block, row and column.

They stand in `published.yaml` and are facts about the paper (arXiv 2412.11242, ACL 2025), never
results of this project.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

Value = float | str | None
"""A number, a bound as printed (">=50%"), or None where the paper leaves the cell empty."""

_FILE = Path(__file__).with_suffix(".yaml")
_CONTENT: dict[str, Any] = yaml.safe_load(_FILE.read_text(encoding="utf-8"))
LABELS: dict[str, str] = _CONTENT["labels"]
"""The paper's models as it prints them."""
UNITS: dict[str, int] = _CONTENT["units"]
"""Their attention and MLP sublayers."""
DOMAINS: dict[str, str] = _CONTENT["domains"]
"""Columns of accuracy as the paper heads them."""
NEAR = {"medmcqa": "pubmedqa", "lexglue": "legalbench"}
"""Domain -> the near domain of the paper's Table 4."""


@dataclass(frozen=True)
class PublishedTable:
    """A table of the paper: block (a model, a GPU, an r; "" if there is one) -> row -> values."""

    name: str
    columns: tuple[str, ...]
    blocks: Mapping[str, Mapping[str, Sequence[Value]]]

    def rows(self, block: str = "") -> tuple[str, ...]:
        """Row keys of a block, in the paper's order; none for a block that it lacks."""
        return tuple(self.blocks.get(block, {}))

    def value(self, row: str, column: str, block: str = "") -> Value:
        """The published value, or None where the paper has no such row."""
        values = self.blocks.get(block, {}).get(row)
        return None if values is None else values[self.columns.index(column)]

    def number(self, row: str, column: str, block: str = "") -> float:
        """The published value of a cell that holds a number."""
        return float(str(self.value(row, column, block)))


def bound_percent(value: float | str) -> float:
    """The number in a printed size: ">=50%" -> 50.0, "100%" -> 100.0; numbers pass through."""
    return float(re.sub("[>=% ]", "", value)) if isinstance(value, str) else value


def display(value: Value, digits: int = 1) -> str:
    """A published value as text; a missing one is a dash."""
    if isinstance(value, str):
        return value.replace(">=", "≥")
    return "–" if value is None else f"{value:.{digits}f}"


@cache
def table(name: str) -> PublishedTable:
    """A table by its key, `table1` to `table9`; an empty one for any other key."""
    content = dict(_CONTENT.get(name, {"columns": []}))
    columns = tuple(map(str, content.pop("columns")))
    one = any(isinstance(entry, list) for entry in content.values())
    return PublishedTable(name, columns, {"": content} if one else content)


def accuracies(block: str, domain: str, column: str = "") -> dict[str, float]:
    """Row -> accuracy (%) that Table 2 or 8 prints for a model in a domain, if one does.

    With `column` what they print there in the same rows, sizes in percent.
    """
    own = table("table2" if block in table("table2").blocks else "table8")
    if domain not in own.columns:
        return {}
    values = {row: own.value(row, column or domain, block) for row in own.rows(block)}
    return {row: bound_percent(one) for row, one in values.items() if one is not None}


def contradictions(table: str = "") -> list[dict[str, Any]]:
    """Numbers of the paper that cannot both be right: all, or those in a table."""
    return [
        one
        for one in _CONTENT["contradictions"]
        if not table or any(place.split("/")[0] == table for place in one["numbers"])
    ]


def claims() -> list[dict[str, Any]]:
    """The paper's headline sentences, to be checked on our own measurements."""
    return list(_CONTENT["claims"])
