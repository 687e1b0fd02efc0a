"""Which of two tiers a number belongs to: measured here, or kept results of an earlier run.

Kept results lie under a folder named `reference` (results/reference, made by `make reference`);
everything that is rendered says which of both it shows.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

MEASURED = "measured here"
REFERENCE = "reference"
FOLDER = "reference"
ROOMS = frozenset({"eval", "models", "scans", "throughput", "data"})
"""Folders of results, whose parent says the tier."""


def tier_of(path: str | Path) -> str:
    """`reference` for a file in a room of a folder named `reference`, else `measured here`."""
    parts = Path(path).parts
    pairs = zip(parts, parts[1:], strict=False)
    inside = any(parent == FOLDER and room in ROOMS for parent, room in pairs)
    return REFERENCE if inside else MEASURED


def tier(paths: Iterable[str | Path]) -> str | None:
    """Tier of all files together: one of both, both joined by a plus, or None for no file."""
    found = dict.fromkeys(map(tier_of, paths))
    return " + ".join(sorted(found)) or None


def tier_note(paths: Iterable[str | Path]) -> str:
    """The tier as a sentence for notes and footers."""
    found = tier(paths)
    if found == REFERENCE:
        return "Reference: kept results of an earlier run (results/reference), not measured here"
    if found == MEASURED:
        return "Measured here"
    return "Mixed: some numbers measured here, some kept results" if found else "Nothing measured"
