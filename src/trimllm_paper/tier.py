"""Where numbers come from, for notes and footers: measured here, or kept from an earlier run."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from trimllm_paper.kept_runs import is_kept


def tier_note(paths: Iterable[str | Path]) -> str:
    """Where the numbers of some files come from, as a sentence."""
    folders = {folder for path in paths for folder in list(Path(path).parents)[:-1]}
    kept = sorted(filter(is_kept, folders))
    measured = any(not any(one in Path(path).parents for one in kept) for path in paths)
    if kept and not measured:
        names = ", ".join("/".join(folder.parts[-2:]) for folder in kept)
        return f"Reference: kept results of an earlier run ({names}), not measured here"
    if kept:
        return "Mixed: some numbers measured here, some kept results"
    return "Measured here" if measured else "Nothing measured"
