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


def _globs(*names: str, script: str = "") -> tuple[str, ...]:
    """Globs of files in the pipeline's package, and of a stage's script."""
    scripts = (f"../workflow/scripts/{script}.py",) if script else ()
    return (*(f"trimllm_paper/{name}" for name in names), *scripts)


BASE = ("trimllm/base/*.py",)
MODEL = (
    *(*BASE, "trimllm/sublayers/**/*.py", "trimllm/checkpoint/*.py", "trimllm/data/__init__.py"),
    *("trimllm/data/document.py", "trimllm/train/batching.py", *_globs("job.py", "gpus.py")),
)
SCORING = (*MODEL, "trimllm/score/*.py")
COMPRESS = ("trimllm/compress/*.py",)
TIMING = (
    *(*MODEL, "trimllm/throughput/**/*.py", *_globs("shapes.py")),
    *(f"trimllm/exporting/{name}.py" for name in ("__init__", "formats", "engines")),
)
EXPORTS = (*SCORING, *COMPRESS, "trimllm/exporting/**/*.py", *_globs(script="export"))
RECORDS = _globs("records.py", "kept_runs.py", "frames.py")
TABLES = (
    *(*RECORDS, *_globs("published.*", "context.py", "tables.py", "specification.py")),
    *_globs("blocks.py", "cells.py", "derive.py", "verdict.py", "intervals.py", "render.py"),
    *_globs("table_notes.py", "tier.py", script="table"),
)
FIGURES = (*TABLES, *_globs("figures/*", script="figure"))
STAGES: dict[str, tuple[str, ...]] = {
    "fetch_model": (*SCORING, *COMPRESS, *_globs("fetch/*.py", script="fetch_model")),
    "prepare": (
        *(*BASE, "trimllm/data/*.py"),
        *_globs("standins.py", "fetch/__init__.py", "fetch/wheels.py", script="prepare_domain"),
    ),
    "scan": (*SCORING, "trimllm/scanning/*.py", *_globs(script="scan")),
    "train": (
        *(*SCORING, "trimllm/scanning/*.py", "trimllm/select.py", "trimllm/train/*.py"),
        *("trimllm/trimming.py", *_globs(script="train"), *_globs(script="teach")),
    ),
    "compress": (*SCORING, "trimllm/compress/**/*.py", *_globs(script="compress")),
    "evaluate": (*SCORING, "trimllm/evaluate/*.py", *_globs(script="evaluate")),
    "export": (*EXPORTS, *_globs("own/__init__.py", "own/card.py", "own/choice.py")),
    "engines": (*EXPORTS, *TIMING, *_globs(script="engines")),
    "throughput": (*TIMING, *SCORING, *COMPRESS, *_globs(script="measure")),
    "answers": (
        *(*SCORING, "trimllm/evaluate/*.py"),
        *_globs("own/*", script="answers"),
    ),
    "choose": (*RECORDS, *_globs("own/choice.py", "choices.py", script="choose")),
    "own_report": (*FIGURES, *_globs("own/*", "choices.py", script="own_report")),
    "table": TABLES,
    "claims": (*TABLES, *_globs("claims/*", script="claims")),
    "figure": FIGURES,
}
"""Stage -> globs of its files, below `src`."""


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
