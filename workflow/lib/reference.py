"""Copy the small results of a run to results/reference: numbers and hashes, no weights, no texts.

    python workflow/lib/reference.py results results/reference

What is copied: evaluations, scans, per-epoch records, training records, manifests of checkpoints
and data reports, tables. A manifest.json with the sha256 of every file is written last.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "src"))

from trimllm import files
from trimllm.errors import UserError

SMALL = (
    "eval/**/*.json",
    "scans/**/*.json",
    "records/**/*.jsonl",
    "models/**/manifest.json",
    "models/**/training.json",
    "data/*/report.json",
    "tables/*",
)


def collect(results: Path, reference: Path) -> int:
    """Copy small results; the old reference stays until the new one is whole. Returns a count."""
    temporary = files.new_sibling(reference)
    count = 0
    try:
        for pattern in SMALL:
            for path in sorted(results.glob(pattern)):
                relative = path.relative_to(results)
                if relative.parts[0] in (reference.name, "smoke", "paper") or not path.is_file():
                    continue
                (temporary / relative).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, temporary / relative)
                count += 1
        if not count:
            raise UserError(f"{results} holds no results; run `snakemake --cores all all` first")
        files.write_manifest(temporary)
        temporary.chmod(0o755)
        files.publish(temporary, reference)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return count


if __name__ == "__main__":
    try:
        source, target = Path(sys.argv[1]), Path(sys.argv[2])
        print(f"{collect(source, target)} files in {target}")
    except UserError as error:
        sys.exit(f"error: {error}")
