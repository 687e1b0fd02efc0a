"""`make verify`: results against their seals, their manifests, and their inputs."""

from collections import Counter
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from trimllm.base import files
from trimllm.base.errors import UserError
from trimllm_paper import kept_runs, records
from trimllm_paper.integrity import lineage
from trimllm_paper.recipe import ROOMS, Paths, place_of

KINDS: dict[str, Any] = {
    "evaluation": records.Evaluation,
    "scan": records.Record,
    "epoch": records.Epoch,
    "training": records.Training,
    "compression": records.OfRecipe,
    "throughput": records.Throughput,
    "export": records.Export,
    "engines": records.Engines,
    "choice": records.Choice,
    "answers": records.Answers,
}
"""Kind of a result's place -> the class that reads it."""


def verify_reference(folder: str | Path) -> None:
    """Raise `UserError` if a kept result is not what it was when it was kept."""
    try:
        files.verify_manifest(folder)
    except UserError as error:
        problem = str(error).partition(";")[0]
        remedy = f"restore {folder} (git checkout) or run `make reference`"
        raise UserError(f"{problem}; {remedy}") from None


def outermost_manifests(folder: Path) -> list[Path]:
    """Folders with a manifest; what lies inside one of them is covered by it."""
    folders = {path.parent for path in kept_runs.glob(folder, f"**/{files.MANIFEST}")}
    return [one for one in folders if folders.isdisjoint(one.parents)]


def verify_folder(folder: Path) -> None:
    """A folder holds what its manifest names, unchanged, and nothing else, except tables that are
    rendered from kept results and earlier manifests (`lineage.accept`)."""
    named = files.verify_manifest(folder)["files"]
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        beside = name.startswith("tables/") or fnmatch(name, "manifest*.json")
        if path.is_file() and name not in named and not beside:
            raise UserError(f"{path} is not in the manifest of {folder}; remove it")


def verified_data(report: Path) -> dict[str, str]:
    """sha256 of every file of a prepared domain, by its name; each is what the report says."""
    expected = records.DataReport.read(report).files
    for name, sha256 in expected.items():
        path = report.parent / name
        if not path.is_file() or files.sha256_of(path) != sha256:
            raise UserError(f"{path} is not what {report} says; delete {report.parent}, run again")
    return expected


def verify_data(report: Path) -> None:
    """Prepared documents match their report. A kept run has reports without documents."""
    if any((report.parent / name).exists() for name in records.DataReport.read(report).files):
        verified_data(report)


def result_files(folder: Path) -> list[Path]:
    """Result files, at any depth."""
    return [
        path
        for room in ROOMS
        for path in kept_runs.glob(folder, f"**/{room}/**/*.json")
        if room not in ("models", "export") or path.stem in KINDS
    ]


def verify_result(path: Path) -> None:
    """A result is whole and unchanged; an evaluation is of the present checkpoint and documents."""
    place = place_of(path)
    record = KINDS[place.kind].read(path)
    if place.kind == "evaluation":
        results = Paths(place.results)
        read = results.manifest(record.model, record.domain, record.recipe)
        made = {"manifest_sha256": "none", "data_hashes": "none"} | record.provenance
        if problem := lineage.other_input(made, [read, results.data(record.tested)]):
            raise UserError(f"{path} {problem}")


CHECKS: dict[str, tuple[Callable[[Path], list[Path]], Callable[[Path], None]]] = {
    "manifests": (outermost_manifests, verify_folder),
    "data sets": (lambda folder: kept_runs.glob(folder, "**/data/*/report.json"), verify_data),
    "results": (result_files, verify_result),
}


def verify(folder: Path) -> tuple[Counter[str], list[str]]:
    """How much of each kind was checked, and a line for each that failed."""
    counts, problems = Counter[str](), list[str]()
    folders = [folder, *(path.parent for path in folder.glob(f"**/{kept_runs.RECORDS}"))]
    for kind, (find, check) in CHECKS.items():
        for path in sorted({path for one in folders for path in find(one)}):
            counts[kind] += 1
            try:
                check(path)
            except UserError as error:
                problems.append(str(error))
    return counts, problems
