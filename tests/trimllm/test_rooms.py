"""Two houses, and rooms in the order in which data walks through them: read off the imports."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import trimllm

HOUSE = Path(trimllm.__file__).parent
ROOMS = (
    *("base", "units", "checkpoint", "data", "score", "scan", "select", "train", "trim"),
    *("compress", "evaluate", "throughput", "export"),
)
# What belongs to the pipeline alone.
FOREIGN = {"snakemake", "pandas", "yaml", "pydantic", "trimllm_paper"}
FILES = sorted(HOUSE.rglob("*.py"))


def imported(path: Path) -> Iterator[str]:
    """Full names of all modules that a file imports anywhere, `package.name` for `from` imports."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room_of(path: Path) -> str:
    return path.relative_to(HOUSE).parts[0].removesuffix(".py")


def test_every_room_has_its_place() -> None:
    assert {room_of(path) for path in FILES} - {"__init__"} <= set(ROOMS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(HOUSE).as_posix())
def test_a_room_imports_nothing_of_the_pipeline_and_of_no_higher_room(path: Path) -> None:
    for name in imported(path):
        house, _, rest = name.partition(".")
        assert house not in FOREIGN, f"{path} imports {name}"
        other = rest.partition(".")[0]
        if house == "trimllm" and other in ROOMS and room_of(path) != "__init__":
            assert ROOMS.index(other) <= ROOMS.index(room_of(path)), f"{path} imports {name}"


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(HOUSE.parent)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_the_library_is_cheap() -> None:
    heavy = "('torch', 'transformers', 'numpy', 'pandas', 'scipy', 'datasets', 'trimllm.units')"
    planned = "trimllm, trimllm.base.errors, trimllm.base.files, trimllm.base.names"
    code = f"import sys, {planned}; print([m for m in {heavy} if m in sys.modules])"
    assert run(code) == "[]"


def test_public_names_come_when_they_are_asked_for() -> None:
    assert all(callable(getattr(trimllm, name)) for name in trimllm.__all__)
    with pytest.raises(AttributeError, match="no attribute 'shrink'"):
        trimllm.shrink  # noqa: B018
    # rooms that are functions, whatever was imported before
    code = "import trimllm; {}; print(callable(trimllm.scan), callable(trimllm.trim))"
    for first in ("pass", "import trimllm.scan, trimllm.trim", "from trimllm.trim import Epoch"):
        assert run(code.format(first)) == "True True"


def test_transformers_knows_trimmed_models_whichever_is_imported_first() -> None:
    ask = "from transformers import AutoConfig; print(AutoConfig.for_model('trimllm_opt').units)"
    for first in ("import trimllm, transformers", "import transformers, trimllm"):
        assert run(f"{first}; {ask}") == "None"
