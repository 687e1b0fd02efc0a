"""The numbers that the paper publishes, by table, block, row and column.

They lie in `published.yaml` beside this file and are facts about the paper (arXiv 2412.11242,
ACL 2025), never results of this project.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Any

import yaml

Value = float | str | None
"""A number, a bound as printed (">=50%"), or None where the paper leaves the cell empty."""

LABELS = MappingProxyType(
    {
        "llama-7b": "LLaMA-7B",
        "llama-13b": "LLaMA-13B",
        "opt-1.3b": "OPT-1.3B",
        "opt-6.7b": "OPT-6.7B",
    }
)
"""Names of the paper's models as it prints them."""

DOMAINS = MappingProxyType(
    {
        "piqa": "PIQA",
        "sciq": "SciQ",
        "medmcqa": "MedMCQA",
        "lexglue": "LexGLUE",
        "financeqa": "FinanceQA",
        "pubmedqa": "PubMedQA",
        "legalbench": "LegalBench",
    }
)
"""Columns of accuracy as the paper heads them."""


@dataclass(frozen=True)
class PublishedTable:
    """One table of the paper. `blocks` maps a block (a model, a GPU, an r) to its rows.

    A table without blocks has the single block "".
    """

    name: str
    columns: tuple[str, ...]
    blocks: Mapping[str, Mapping[str, tuple[Value, ...]]]

    def rows(self, block: str = "") -> tuple[str, ...]:
        """Row keys of a block, in the paper's order; none for a block that it lacks."""
        return tuple(self.blocks.get(block, {}))

    def value(self, row: str, column: str, block: str = "") -> Value:
        """The published value, or None where the paper has no such cell.

        Raises `KeyError` for a column that the table does not have.
        """
        if column not in self.columns:
            raise KeyError(f"{self.name} has no column {column}")
        values = self.blocks.get(block, {}).get(row)
        return None if values is None else values[self.columns.index(column)]


def bound_percent(value: Value) -> float | None:
    """The number in a printed size: ">=50%" -> 50.0, "100%" -> 100.0; numbers pass through."""
    if value is None or isinstance(value, int | float):
        return value
    match = re.fullmatch(r"(?:>=|>)?\s*(\d+(?:\.\d+)?)%", value)
    if not match:
        raise ValueError(f"{value!r} is not a size as the paper prints it")
    return float(match[1])


def display(value: Value, digits: int = 1) -> str:
    """A published value as text; a missing one is a dash."""
    if value is None:
        return "–"
    if isinstance(value, str):
        return value.replace(">=", "≥")
    return f"{value:.{digits}f}"


@cache
def _content() -> dict[str, Any]:
    text = resources.files(__package__).joinpath("published.yaml").read_text(encoding="utf-8")
    return yaml.safe_load(text)


@cache
def table(name: str) -> PublishedTable:
    """A table of the paper by its key, `table1` to `table9`. Raises `KeyError` for another."""
    content = _content()[name] if re.fullmatch(r"table\d+", name) else None
    if content is None:
        raise KeyError(f"{name} is no table of the paper")
    columns = tuple(str(column) for column in content["columns"])
    blocks: dict[str, dict[str, tuple[Value, ...]]] = {}
    for key, entry in content.items():
        if key == "columns":
            continue
        named = {key: entry} if isinstance(entry, list) else entry
        block = "" if isinstance(entry, list) else key
        for row, values in named.items():
            if len(values) != len(columns):
                raise ValueError(f"{name}, {key}, {row}: {len(values)} values for {len(columns)}")
            blocks.setdefault(block, {})[row] = tuple(values)
    return PublishedTable(name, columns, MappingProxyType(blocks))


def tables() -> tuple[str, ...]:
    """Keys of all tables."""
    return tuple(key for key in _content() if re.fullmatch(r"table\d+", key))


def claims() -> tuple[dict[str, Any], ...]:
    """The paper's headline sentences, to be checked on our own measurements."""
    return tuple(_content()["claims"])


def inconsistencies(of: str | None = None) -> tuple[str, ...]:
    """Contradictions found in the paper itself, all of them or those of one table."""
    entries = _content()["inconsistencies"]
    return tuple(entry["text"] for entry in entries if of is None or of in entry["tables"])
