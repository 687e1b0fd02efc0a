"""Check every result of a folder against what it says of itself, and against what it was made from.

    python -m trimllm_paper.commands.verify results

Checked: every file that a manifest names and none besides (checkpoints, committed reference runs);
prepared documents against their report; every evaluation against its seal, its path, the manifest
of its checkpoint and the documents that it counts; scans and measurements against their seals;
records of training and compression against their seals (most checkpoints of a chain are gone) or
their manifests; the gathered records of a chain against those of its epochs. One line for each that
fails.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from trimllm.base import files
from trimllm.base.errors import UserError
from trimllm.base.machine import recorded
from trimllm_paper.chains import read_chain
from trimllm_paper.measured import read_measurement


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


def in_manifest(path: Path) -> bool:
    """Whether a manifest of a folder around a file names it.

    Raises `UserError` if one names it with another content. (Of kept checkpoints, which lack their
    weights, the manifests are not checked as a whole.)
    """
    found = False
    for folder in path.parents:
        if (folder / files.MANIFEST).is_file():
            named = files.read_json(folder / files.MANIFEST)["files"]
            entry = named.get(path.relative_to(folder).as_posix())
            if entry and entry["sha256"] != files.sha256_of(path):
                raise UserError(f"{path} is not what {folder / files.MANIFEST} says")
            found |= entry is not None
    return found


def check_unchanged(path: Path, *results: dict[str, Any]) -> None:
    """The results in a file were not changed after they were sealed, or listed in a manifest."""
    for result in results:
        files.check_seal(path, result)
    if not in_manifest(path) and not all(files.SEAL in result for result in results):
        raise UserError(f"{path} has no seal, and no manifest names it; delete it and make it anew")


def verify_seal(path: Path) -> None:
    """A result was not changed after it was written."""
    check_unchanged(path, files.read_json(path))


def verify_records(path: Path) -> None:
    """The records of a chain are complete, unchanged, and those of its epochs that lie there."""
    epochs = read_chain(path).epochs
    check_unchanged(path, *epochs)
    if len(epochs) != epochs[0].get("epochs", len(epochs)):
        raise UserError(f"{path} holds {len(epochs)} epochs of {epochs[0]['epochs']}; run it again")
    place = len(path.parts) - 1 - path.parts[::-1].index("records")
    chain = Path(*path.parts[:place], "models", *path.parts[place + 1 :]).with_suffix("")
    for lying in sorted(chain.glob("drop_*/epoch.json")):
        record = files.read_json(lying)
        if record["epoch"] < len(epochs):
            gathered = epochs[record["epoch"]]
            if files.sealed(record) != files.sealed(gathered):
                raise UserError(f"{path} was not gathered from {lying}; delete {path}")


def training_records(folder: Path) -> Iterator[Path]:
    """Records beside checkpoints, or where these were; what is hidden is being written."""
    for name in ("epoch", "training", "compression"):
        for path in folder.glob(f"**/models/**/{name}.json"):
            if not any(part.startswith(".") for part in path.relative_to(folder).parts):
                yield path


def verify_evaluation(path: Path) -> None:
    """An evaluation is whole and unchanged, and so is what it was made from."""
    one = read_measurement(path)
    check_unchanged(path, files.read_json(path))
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
    "training records": (training_records, verify_seal),
    "records of chains": (lambda folder: folder.glob("**/records/**/*.jsonl"), verify_records),
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
