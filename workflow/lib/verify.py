"""Check every result of a folder against what it says of itself, and against what it was made from.

    python workflow/lib/verify.py results

Checked: every file that a manifest names and none besides (checkpoints, committed reference runs);
prepared documents against their report; every evaluation against its seal, its path, the manifest
of its checkpoint and the documents that it counts; scans and measurements against their seals. One
line for each that fails.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "src"))

from trimllm import files
from trimllm.errors import UserError
from trimllm.paper.measured import read_measurement
from trimllm.provenance import recorded


def outermost_manifests(folder: Path) -> Iterator[Path]:
    """Folders with a manifest; what lies inside one of them is covered by it."""
    if (folder / files.MANIFEST).is_file():
        yield folder
        return
    for path in sorted(folder.iterdir()):
        # Hidden folders are being written, or were when their writer was killed.
        if path.is_dir() and not path.is_symlink() and not path.name.startswith("."):
            yield from outermost_manifests(path)


def verify_folder(folder: Path) -> None:
    """Every file of a folder is in its manifest, as the manifest says.

    Tables beside kept results are rendered from them again, and are no results.
    """
    named = files.verify_manifest(folder)["files"]
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        rendered = name.startswith("tables/") or name == files.MANIFEST
        if path.is_file() and name not in named and not rendered:
            raise UserError(f"{path} is not in the manifest of {folder}; remove it")


def verify_data(report: Path) -> None:
    """Prepared documents are what their report says. A reference keeps reports without them."""
    expected: dict[str, str] = files.read_json(report)["files"]
    if not any((report.parent / name).exists() for name in expected):
        return
    for name, sha256 in expected.items():
        path = report.parent / name
        if not path.is_file() or files.sha256_of(path) != sha256:
            raise UserError(f"{path} is not what {report} says; delete {report.parent}")


def verify_seal(path: Path) -> None:
    """A result was not changed after it was written."""
    files.check_seal(path, files.read_json(path))


def verify_evaluation(path: Path) -> None:
    """An evaluation is whole and unchanged, and so is what it was made from."""
    one = read_measurement(path)
    made = recorded(path)
    place = len(path.parts) - 1 - path.parts[::-1].index("eval")
    root = Path(*path.parts[:place])
    base = Path("base") if one.recipe == "pretrained" else Path(one.domain)
    manifest = root / "models" / one.model / base / one.recipe / files.MANIFEST
    if manifest.is_file() and made.get("manifest_sha256") != files.sha256_of(manifest):
        raise UserError(f"{path} was made from another checkpoint than {manifest.parent}")
    # A specialized model may be tested on another domain.
    tested = files.read_json(path).get("tested", one.domain)
    report = root / "data" / tested / "report.json"
    if report.is_file() and made.get("data_hashes") != files.read_json(report)["files"]:
        raise UserError(f"{path} was made from other documents than {report.parent}")


CHECKS: dict[str, tuple[Callable[[Path], Iterator[Path]], Callable[[Path], None]]] = {
    "manifests": (outermost_manifests, verify_folder),
    "data sets": (lambda folder: folder.glob("**/data/*/report.json"), verify_data),
    "evaluations": (lambda folder: folder.glob("**/eval/**/*.json"), verify_evaluation),
    "scans": (lambda folder: folder.glob("**/scans/**/*.json"), verify_seal),
    "measurements": (lambda folder: folder.glob("**/bench/**/*.json"), verify_seal),
}


def verify(folder: Path) -> tuple[Counter[str], list[str]]:
    """How much of each kind was checked, and a line for each that failed."""
    counts: Counter[str] = Counter()
    problems = []
    for kind, (find, check) in CHECKS.items():
        for path in sorted(find(folder)):
            counts[kind] += 1
            try:
                check(path)
            except UserError as error:
                problems.append(str(error))
            except (KeyError, TypeError, AttributeError) as error:
                problems.append(f"{path} is not of the form that it must have ({error!r})")
    return counts, problems


def main(folder: Path) -> int:
    """Exit status of `make verify`."""
    if not folder.is_dir():
        print(f"error: {folder} does not exist", file=sys.stderr)
        return 1
    counts, problems = verify(folder)
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    checked = ", ".join(f"{counts[kind]} {kind}" for kind in CHECKS)
    print(f"{folder}: {checked}; {len(problems) or 'none'} failed")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
