"""Check every result of a folder: `python -m trimllm_paper verify results`. What is checked, and
against what, `trimllm_paper.integrity.checks` says; of pages that tell numbers of them,
`trimllm_paper.integrity.pages`. One line for each that fails."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from trimllm.base.errors import UserError
from trimllm_paper.integrity import checks, pages


def run(folder: Path, told: Sequence[Path] = ()) -> int:
    """Check, and say how much."""
    if not folder.is_dir():
        raise UserError(f"{folder} does not exist")
    if absent := [page for page in told if not page.is_file()]:
        raise UserError(f"{absent[0]} does not exist")
    counts, problems = checks.verify(folder)
    problems += pages.problems(told)
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    checked = ", ".join(f"{counts[kind]} {kind}" for kind in checks.CHECKS)
    checked += f", {len(told)} pages" if told else ""
    print(f"{folder}: {checked}; {len(problems) or 'none'} failed")
    return 1 if problems else 0
