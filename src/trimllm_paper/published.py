"""The numbers that the paper publishes, by table, block, row and column.

They stand in `published.yaml` and are facts about the paper (arXiv 2412.11242, ACL 2025), never
results of this project.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

Value = float | str | None
"""A number, a bound as printed (">=50%"), or None where the paper leaves the cell empty."""

_CONTENT: dict[str, Any] = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text("utf-8"))
LABELS: dict[str, str] = _CONTENT["labels"]
"""The paper's models as it prints them."""
DOMAINS: dict[str, str] = _CONTENT["domains"]
"""Columns of accuracy as the paper heads them."""
CLAIMS: list[dict[str, Any]] = _CONTENT["claims"]
"""The paper's headline sentences, to be checked on our own measurements."""
KEEPS = 0.9
"""Share of Full-FT's accuracy that counts as no loss in the paper."""
NEAR = {"medmcqa": "pubmedqa", "lexglue": "legalbench"}
"""Domain -> the near domain of the paper's Table 4."""


@dataclass(frozen=True)
class PublishedTable:
    """A table of the paper: block (a model, a GPU, an r; "" if there is one) -> row -> column."""

    columns: tuple[str, ...]
    blocks: Mapping[str, Mapping[str, Mapping[str, Any]]]

    def value(self, row: str, column: str, block: str = "") -> Value:
        """The published value, or None where the paper has no such cell."""
        return self.blocks.get(block, {}).get(row, {}).get(column)


def bound_percent(value: float | str) -> float:
    """The number in a printed size: ">=50%" -> 50.0, "100%" -> 100.0; numbers pass through."""
    return float(re.sub("[>=% ]", "", value)) if isinstance(value, str) else value


@cache
def table(name: str) -> PublishedTable:
    """A table by its key, `table1` to `table9`; an empty one for any other key."""
    content = dict(_CONTENT.get(name, {"columns": []}))
    columns = tuple(map(str, content.pop("columns")))
    if any(isinstance(entry, list) for entry in content.values()):
        content = {"": content}
    blocks: dict[str, dict[str, dict[str, Any]]] = {
        block: {row: dict(zip(columns, values, strict=True)) for row, values in rows.items()}
        for block, rows in content.items()
    }
    # What follows from the numbers: ratios of speed, minutes, percent of Full-FT's time.
    for rows in blocks.values():
        for row in rows.values():
            if "throughput" in columns:
                full = rows["fp16" if name == "table1" else "full_ft"]
                row["speedup"] = row["throughput"] / full["throughput"]
            if name == "table7":
                row["mem"] = row["final_mem"]
            for epochs in columns if name == "table9" else ():
                row[f"minutes_{epochs}"] = 60 * row[epochs]
                row[f"share_{epochs}"] = 100 * row[epochs] / rows["full_ft"][epochs]
    return PublishedTable(columns, blocks)


def accuracies(block: str, domain: str, column: str = "") -> dict[str, float]:
    """Row -> accuracy (%) that Table 2 or 8 prints for a model in a domain, if one does.

    With `column` what they print there in the same rows, sizes in percent.
    """
    own = table("table2" if block in table("table2").blocks else "table8")
    values = {row: one.get(column or domain) for row, one in own.blocks.get(block, {}).items()}
    return {row: bound_percent(one) for row, one in values.items() if one is not None}


def contradictions(table: str = "") -> list[dict[str, Any]]:
    """Numbers of the paper that cannot both be right: all, or those in a table."""
    every = _CONTENT["contradictions"]
    return [one for one in every if not table or f"{table}/" in " ".join(one["numbers"])]
