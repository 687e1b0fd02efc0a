"""Write the records of a kept run as the files that they were, byte by byte.

Weights and documents are not kept: a run goes on in a folder of its own, whose results
`trimllm reference --add` adds to the kept ones.
"""

from __future__ import annotations

from pathlib import Path

from trimllm.base.errors import UserError
from trimllm_paper import kept_runs


def run(reference: Path, results: Path) -> int:
    """Unpack, and print how many files were written; existing files stay."""
    if not kept_runs.is_kept(reference):
        raise UserError(f"{reference} holds no kept run ({kept_runs.RECORDS}, manifest.json)")
    print(f"{kept_runs.unpack(reference, results)} files in {results}")
    return 0
