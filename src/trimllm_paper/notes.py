"""The lines under a table: what was asked, under how many seeds, and where the numbers come from.

What concerns single cells (commits, hashes, losses, seeds) stands in the CSV.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from trimllm_paper.layout import Column
from trimllm_paper.render import Block
from trimllm_paper.tier import tier_note


def documents(columns: Sequence[Column], blocks: Sequence[Block]) -> Iterator[str]:
    """One line: test documents and chance level of every accuracy column."""
    parts = []
    for column in columns:
        cells = [line.cells[column.key] for block in blocks for line in block.rows]
        sizes = sorted({cell.n for cell in cells if cell.n})
        chance = {float(level) for cell in cells if cell.n and (level := cell.details["chance"])}
        if sizes:
            count = " to ".join(map(str, dict.fromkeys((sizes[0], sizes[-1]))))
            levels = " or ".join(f"{level:.1f}%" for level in sorted(chance))
            free = any("token_f1" in cell.details for cell in cells)
            words = "free answers, F1 of words" if free else levels and f"chance {levels}"
            parts.append(f"{column.label} {count}" + (f" ({words})" if words else ""))
    if parts:
        yield f"Test documents: {', '.join(parts)}"


def seeds(evaluations: pd.DataFrame) -> Iterator[str]:
    """One line: what an interval covers."""
    if evaluations.empty:
        return
    count = evaluations.seed.nunique()
    fewest = evaluations.groupby(["model", "domain", "task", "recipe"]).seed.nunique().min()
    if count == 1:
        yield "One seed: intervals cover the test documents alone (Wilson)"
    else:
        some = f"; some cells have {fewest} (column `seeds` of the CSV)" if fewest < count else ""
        yield f"Means of {count} seeds; intervals cover documents and seeds{some}"


def sources(table: pd.DataFrame, what: str) -> str:
    """One line: how many measurements, of which run, on which machines."""
    if table.empty:
        return "Nothing has been measured yet"
    machines = dict.fromkeys(filter(None, map(_machine, table.provenance)))
    on = f" on {'; '.join(machines)}" if machines else ""
    count = f"{len(table)} {what}"
    return f"{tier_note(table.source)}: {count}{on}; commits and hashes are in the CSV"


def several_machines(trained: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """A warning where times of training that are compared come from several machines."""
    machines = dict.fromkeys(filter(None, map(_machine, trained)))
    if len(machines) > 1:
        yield f"Warning: times come from several machines: {'; '.join(machines)}"


def _machine(provenance: Mapping[str, Any]) -> str:
    hardware = provenance.get("hardware") or {}
    name = hardware.get("gpu") or hardware.get("cpu") or ""
    cores = hardware.get("threads") or hardware.get("cores")
    return f"{name}, {cores} cores" if name and cores and not hardware.get("gpu") else str(name)
