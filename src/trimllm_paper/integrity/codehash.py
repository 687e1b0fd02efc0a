"""What reruns a job besides its inputs and parameters: a hash of the source of its stage.

`STAGES` declares the files of each stage as globs below the project's `src`. Hashed is what Python
makes of them: docstrings, comments and layout change nothing. A test compares what is declared with
what is imported.
"""

from __future__ import annotations

import ast
import hashlib
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import yaml

from trimllm.base.errors import UserError

SOURCE = Path(__file__).parents[2]
MODEL = (
    *("trimllm/base/*.py", "trimllm/sublayers/**/*.py", "trimllm/checkpoint/*.py"),
    *("trimllm/data/__init__.py", "trimllm/data/document.py"),
)
JOB = ("trimllm_paper/job.py", "trimllm_paper/environment.py", "trimllm_paper/gpus.py")
SCORING = (*MODEL, *JOB, "trimllm/score/*.py")
TRAINING = (
    *(*SCORING, "trimllm/scanning/*.py", "trimllm/select.py", "trimllm/train/*.py"),
    *("trimllm/trimming.py", "../workflow/scripts/train.py", "../workflow/scripts/teach.py"),
)
TIMING = (*MODEL, *JOB, "trimllm/throughput/**/*.py", "trimllm_paper/shapes.py")
PROOF = (*SCORING, "trimllm/train/batching.py")
EXPORTS = (
    *(*PROOF, "trimllm/exporting/**/*.py", "trimllm/compress/*.py"),
    "../workflow/scripts/export.py",
)
OWN = ("__init__", "card", "choice")
RECORDS = (
    *("trimllm_paper/records.py", "trimllm_paper/engine_records.py"),
    *("trimllm_paper/kept_runs.py", "trimllm_paper/frames.py"),
)
SHOWING = (*RECORDS, "trimllm_paper/published.*", "trimllm_paper/context.py")
TABLES = (
    *(*SHOWING, "trimllm_paper/layout.*", "trimllm_paper/grid.py", "trimllm_paper/cells.py"),
    *("trimllm_paper/derive.py", "trimllm_paper/verdict.py", "trimllm_paper/intervals.py"),
    *("trimllm_paper/details.py", "trimllm_paper/render.py", "trimllm_paper/table.tex.jinja"),
    *("trimllm_paper/notes.py", "trimllm_paper/timed.py"),
    *("trimllm_paper/tier.py", "../workflow/scripts/table.py"),
)
FIGURES = (*TABLES, "trimllm_paper/figures/*", "../workflow/scripts/figure.py")
STAGES: dict[str, tuple[str, ...]] = {
    "fetch_model": (*PROOF, "trimllm/compress/*.py", "trimllm_paper/fetch/*.py"),
    "prepare": (
        *("trimllm/base/*.py", "trimllm/data/*.py", "trimllm_paper/standins.py"),
        *("trimllm_paper/fetch/__init__.py", "trimllm_paper/fetch/wheels.py"),
        "../workflow/scripts/prepare_domain.py",
    ),
    "scan": (*SCORING, "trimllm/scanning/*.py", "../workflow/scripts/scan.py"),
    "train": TRAINING,
    "compress": (*PROOF, "trimllm/compress/**/*.py", "../workflow/scripts/compress.py"),
    "evaluate": (*SCORING, "trimllm/evaluate/*.py", "../workflow/scripts/evaluate.py"),
    "export": (*EXPORTS, *(f"trimllm_paper/own/{name}.py" for name in OWN)),
    "engines": (
        *(*EXPORTS, *TIMING, "trimllm/engines/**/*.py"),
        "../workflow/scripts/engines.py",
    ),
    "throughput": (*TIMING, *PROOF, "trimllm/compress/*.py", "../workflow/scripts/measure.py"),
    "answers": (
        *(*SCORING, "trimllm/evaluate/*.py", "trimllm/train/batching.py", "trimllm_paper/own/*"),
        "../workflow/scripts/answers.py",
    ),
    "choose": (
        *(*RECORDS, "trimllm_paper/own/choice.py", "trimllm_paper/choices.py"),
        "../workflow/scripts/choose.py",
    ),
    "own_report": (*FIGURES, "trimllm_paper/own/*", "trimllm_paper/choices.py"),
    "table": TABLES,
    "claims": (*TABLES, "trimllm_paper/claims/*", "../workflow/scripts/claims.py"),
    **dict.fromkeys(("figure1", "figure2", "figure3", "figure4"), FIGURES),
}
"""Stage -> globs of its files."""


@cache
def code_hash(stage: str, *own: str, source: Path = SOURCE) -> str:
    """SHA-256 of the source of a stage, hexadecimal.

    Args:
        own: code that the configuration names as `package.module:name`; all of its package counts.

    Raises:
        UserError: code of one's own that does not exist.
    """
    digest = hashlib.sha256()
    for path in [*files_of(stage, source), *(file for name in own for file in _own_files(name))]:
        digest.update(f"{path.name} {_content(path)}\0".encode())
    return digest.hexdigest()


def files_of(stage: str, source: Path = SOURCE) -> list[Path]:
    """The files of a stage, in order."""
    found = {path.resolve() for glob in STAGES[stage] for path in source.glob(glob)}
    return sorted(path for path in found if path.is_file() and path.suffix != ".pyc")


def _own_files(name: str) -> list[Path]:
    """Files of the package (or the module) of `package.module:name`, without importing it."""
    package = find_spec(name.partition(":")[0].partition(".")[0])
    folders = package and package.submodule_search_locations
    files = sorted(Path(next(iter(folders))).rglob("*.py")) if folders else []
    if package and package.origin and package.origin.endswith(".py") and not files:
        files = [Path(package.origin)]
    module = name.partition(":")[0].replace(".", "/")
    if not any(path.with_suffix("").as_posix().endswith(module) for path in files):
        raise UserError(f"{name!r} names no module that can be imported (PYTHONPATH)")
    return files


@cache
def _content(path: Path) -> str:
    """A file's meaning: a syntax tree without docstrings, YAML's content, or the text."""
    if path.suffix == ".py":
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(body := getattr(node, "body", None), list):
                body[:] = [one for one in body if not _is_text(one)] or [ast.Pass()]
        return ast.dump(tree)
    if path.suffix == ".yaml":
        return repr(yaml.safe_load(path.read_text(encoding="utf-8")))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _is_text(node: ast.stmt) -> bool:
    """Whether a statement is a text that stands by itself: a docstring."""
    value = getattr(node, "value", None)
    is_text = isinstance(value, ast.Constant) and isinstance(value.value, str)
    return isinstance(node, ast.Expr) and is_text
