"""Which of two tiers a number belongs to: measured here, or kept results of an earlier run.

Kept results lie in a folder with a manifest (results/reference, results/reference_real, made by
`python -m trimllm_paper reference`), or in one that is called as that of `make reference` is;
everything that is rendered says which of both it shows.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from trimllm_paper.kept_runs import is_kept
from trimllm_paper.recipe import ROOMS, is_of_seed

MEASURED = "measured here"
REFERENCE = "reference"
PREPARED = "data"
"""The room of documents, which are no results."""


def kept_folder(path: str | Path) -> Path | None:
    """The folder of kept results that a file belongs to, or None."""
    parts = Path(path).parts
    rooms = (i for i, part in enumerate(parts) if i and part in (*ROOMS, PREPARED))
    named = (Path(*parts[:i]) for i in rooms)
    folders = [one.parent if is_of_seed(one) else one for one in named]
    return next((one for one in folders if one.name == REFERENCE or is_kept(one)), None)


def _told(folder: Path) -> str:
    """Its name, without the folders around those of all results."""
    parts = folder.parts
    outside = max((i for i, part in enumerate(parts) if part == "results"), default=-2)
    return "/".join(parts[outside:])


def tier_of(path: str | Path) -> str:
    """`reference` for a file in a room of a folder of kept results, else `measured here`."""
    return REFERENCE if kept_folder(path) else MEASURED


def tier(paths: Iterable[str | Path]) -> str | None:
    """Tier of all files together: one of both, both joined by a plus, or None for no file."""
    found = dict.fromkeys(map(tier_of, paths))
    return " + ".join(sorted(found)) or None


def tier_note(paths: Iterable[str | Path]) -> str:
    """The tier as a sentence for notes and footers."""
    paths = [*paths]
    found = tier(paths)
    if found == REFERENCE:
        folders = dict.fromkeys(folder for one in paths if (folder := kept_folder(one)))
        named = ", ".join(map(_told, folders))
        return f"Reference: kept results of an earlier run ({named}), not measured here"
    if found == MEASURED:
        return "Measured here"
    return "Mixed: some numbers measured here, some kept results" if found else "Nothing measured"
