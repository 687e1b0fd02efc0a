"""Tables of the tests' results, under a configuration that each test may change."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from evaluation_files import CHAINS

from trimllm_paper import cells
from trimllm_paper.context import Context
from trimllm_paper.frames import Frame
from trimllm_paper.render import Rendered

TINY = {"name": "tiny", "label": "Tiny-135M", "published": None, "units": 60}
COLUMNS = {
    **{"financeqa": "FinanceQA", "sciq": "SciQ", "piqa": "PIQA", "medmcqa": "MedMCQA"},
    "lexglue": "LexGLUE",
}


def column(name: str, *tasks: str, **more: Any) -> dict[str, Any]:
    """A domain; its only test has its name if none is given."""
    label = COLUMNS.get(name, name.capitalize())
    return {"name": name, "label": label, "tasks": tasks or (name,), **more}


def context(**changes: Any) -> Context:
    """The tests' configuration: a stand-in model, five domains, two chains of six units a step."""
    plain = {
        "models": [TINY],
        "domains": [column(name) for name in COLUMNS],
        "recipes": {name: {"name": name, **keys} for name, keys in CHAINS.items()},
        "chains": list(CHAINS),
        "criteria": ["calibration", "activation_norm", "both", "likelihood"],
        "rules": ["random", "top", "bottom"],
        "ratios": [1, 0.5, 0.25, 0.125],
        "compressors": ["llm_pruner", "sparsegpt_2_4", "llm_int8", "awq_int4"],
        "shapes": ["llama-1b"],
        "patterns": ["half", "chain"],
        "timed_percent": [50, 40],
        "timed_compressors": ["sparsegpt_2_4", "llm_int8", "gptq_int4", "awq_int4"],
        "composed": ["sparsegpt_2_4", "awq_int4"],
    }
    return Context(**{**plain, **changes})


def build(
    table: str,
    evaluations: Iterable[Path] = (),
    *,
    throughput: Iterable[Path] = (),
    trainings: Iterable[Path] = (),
    epochs: Iterable[Path] = (),
    engines: Iterable[Path] = (),
    **changes: Any,
) -> Rendered:
    """A table from files; `changes` are of the context."""
    frame = Frame.of(evaluations, epochs, trainings, throughput, engines)
    return cells.build(table, frame, context(**changes))


def blocks(table: Rendered) -> list[str]:
    """Keys of its blocks."""
    return [*table.cells.block.unique()]


def rows(table: Rendered, block: str = "tiny") -> dict[str, str]:
    """Labels of a block's rows, by key."""
    found = table.cells[table.cells.block == block]
    return dict(zip(found.row, found.row_label, strict=True))
