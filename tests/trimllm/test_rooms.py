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

SOURCE = Path(trimllm.__file__).parents[1]
# By house, the rooms from the lowest to the highest.
ROOMS = {
    "trimllm": (
        *(
            "base",
            "sublayers",
            "checkpoint",
            "data",
            "score",
            "scanning",
            "select",
            "train",
            "trimming",
        ),
        *("compress", "evaluate", "throughput", "exporting", "engines", "auto"),
    ),
    "trimllm_paper": (
        # what is asked for, and what it takes
        *(
            "kept_runs",
            "recipe",
            "records",
            "data_records",
            "standins",
            "engine_records",
            "choices",
            "shapes",
            "gpus",
            "driver",
            "config",
            "integrity",
        ),
        *(
            "resources",
            "invocation",
            "plan",
            "interrupts",
            "fetch",
            "job",
            "jobs",
        ),
        # what came of it: numbers, tables, figures, claims
        *("intervals", "published", "context", "frames", "tier", "derive", "details", "verdict"),
        *("layout", "render", "timed", "cells", "notes", "cell_notes"),
        *("grid", "figures", "claims"),
        *("own", "targets", "__main__", "commands"),
    ),
}
# What belongs to the pipeline alone.
FOREIGN = {"snakemake", "pandas", "yaml", "pydantic", "trimllm_paper"}
FILES = sorted(path for house in ROOMS for path in (SOURCE / house).rglob("*.py"))


def imported(path: Path) -> Iterator[str]:
    """Full names of all modules that a file imports anywhere, `package.name` for `from` imports."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def place_of(path: Path) -> tuple[str, str]:
    """House and room of a file."""
    house, room, *_ = path.relative_to(SOURCE).with_suffix("").parts
    return house, room


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_a_room_imports_no_higher_room_and_the_method_nothing_of_the_pipeline(path: Path) -> None:
    house, room = place_of(path)
    assert room in ("__init__", *ROOMS[house]), f"{path} is in no room of {house}"
    for name in imported(path):
        other_house, _, rest = name.partition(".")
        assert house != "trimllm" or other_house not in FOREIGN, f"{path} imports {name}"
        other = rest.partition(".")[0]
        if other_house == house and other in ROOMS[house] and room != "__init__":
            order = ROOMS[house].index
            assert order(other) <= order(room), f"{path} imports {name}"


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("imported", "without"),
    [
        ("trimllm", "torch transformers numpy pandas scipy datasets"),
        ("trimllm_paper.job", "numpy pandas scipy torch"),
        ("trimllm_paper.grid, trimllm_paper.claims, trimllm_paper.figures", "torch"),
    ],
    ids=["library", "any job", "tables"],
)
def test_imports_load_nothing_that_they_do_not_need(imported: str, without: str) -> None:
    code = f"import sys, {imported}; print({{*{without.split()}}} & sys.modules.keys())"
    assert run(code) == "set()"


def test_public_names_come_when_they_are_asked_for() -> None:
    assert all(callable(getattr(trimllm, name)) for name in trimllm.__all__)
    with pytest.raises(AttributeError, match="no attribute 'shrink'"):
        trimllm.shrink  # noqa: B018


def test_auto_classes_know_trimmed_models_after_importing_trimllm_auto() -> None:
    """Also where something has looked for transformers before, as optimum does."""
    ask = "from transformers import AutoConfig; print(AutoConfig.for_model('trimllm_opt').units)"
    looked = "import trimllm, importlib.util as u; u.find_spec('transformers')"
    assert run(f"import transformers, trimllm.auto; {ask}") == "None"
    assert run(f"{looked}; import trimllm.auto; {ask}") == "None"
