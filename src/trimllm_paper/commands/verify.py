"""Check every result of a folder (`trimllm_paper.integrity.checks`): `trimllm verify results`."""

from __future__ import annotations

import sys
from pathlib import Path

from trimllm.base.errors import UserError
from trimllm_paper.integrity import checks


def run(folder: Path) -> int:
    """Print a line for each result that fails, and how many of each kind were checked."""
    if not folder.is_dir():
        raise UserError(f"{folder} does not exist")
    counts, problems = checks.verify(folder)
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    checked = ", ".join(f"{counts[kind]} {kind}" for kind in checks.CHECKS)
    print(f"{folder}: {checked}; {len(problems) or 'none'} failed")
    return 1 if problems else 0
