"""Write the records of a kept run as the files that they were, byte by byte.

Weights and documents are not kept. The run goes on in that folder, and `trimllm reference` keeps it
again as a whole.
"""

from __future__ import annotations

from pathlib import Path

from trimllm.base import files
from trimllm.base.errors import UserError
from trimllm_paper import kept_runs


def run(reference: Path, results: Path) -> int:
    """Unpack, and print how many files were written; existing files stay."""
    if not kept_runs.is_kept(reference):
        raise UserError(f"{reference} holds no kept run ({kept_runs.RECORDS}, manifest.json)")
    records = kept_runs.records_of(reference)
    missing = [name for name in records if not (results / name).exists()]
    for name in missing:
        files.write_text(results / name, kept_runs.text_of(records[name]))
    print(f"{len(missing)} files in {results}")
    return 0
