"""Packages of the library import downwards only, those of the pipeline without cycles."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from graphlib import TopologicalSorter

import pytest
from shared import SOURCE, run_python

# From the lowest to the highest.
LIBRARY = (
    *("base", "sublayers", "checkpoint", "data", "score", "scanning", "select", "train"),
    *("trimming", "compress", "evaluate", "exporting", "throughput", "auto"),
)
PIPELINE_ONLY = {"snakemake", "pandas", "yaml", "pydantic", "trimllm_paper"}


def imports(house: str) -> Iterator[tuple[str, str]]:
    """(room, full name of what a file of it imports) of every import statement of a package."""
    for path in (SOURCE / house).rglob("*.py"):
        room = path.relative_to(SOURCE).with_suffix("").parts[1]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                yield from ((room, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path} has a relative import"
                yield from ((room, f"{node.module}.{alias.name}") for alias in node.names)


def test_the_library_imports_downwards_and_nothing_of_the_pipeline():
    for room, name in imports("trimllm"):
        house, _, rest = name.partition(".")
        other = rest.partition(".")[0]
        assert house not in PIPELINE_ONLY, f"{room} imports {name}"
        if room != "__init__" and house == "trimllm" and other in LIBRARY:
            assert LIBRARY.index(other) <= LIBRARY.index(room), f"{room} imports {name}"


def test_the_pipeline_has_no_import_cycles():
    graph = defaultdict(set)
    for room, name in imports("trimllm_paper"):
        house, _, rest = name.partition(".")
        if house == "trimllm_paper" and "__init__" != room != rest.partition(".")[0]:
            graph[room].add(rest.partition(".")[0])
    assert len([*TopologicalSorter(graph).static_order()]) > 10


@pytest.mark.parametrize(
    ("modules", "without"),
    [
        ("trimllm", "torch transformers numpy pandas scipy datasets"),
        ("trimllm_paper.job", "numpy pandas scipy torch"),
        ("trimllm_paper.cells, trimllm_paper.claims, trimllm_paper.figures", "torch"),
    ],
)
def test_imports_load_nothing_that_they_do_not_need(modules, without):
    code = f"import sys, {modules}; print({{*{without.split()}}} & sys.modules.keys())"
    assert run_python(code).strip() == "set()"
