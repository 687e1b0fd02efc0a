"""A seeded sample of what cosmic-ray changes in the method and in the verdicts, as JSON lines.

    .envs/mutants/bin/python envs/mutants/sample.py 300 --seed 0 > build/mutants.jsonl

Each is `{"module": path under src, "source": the module with one change, "change": a diff}`. What
changes annotations alone, which nothing evaluates, is left out; modules are taken by the number of
their mutants.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import json
import random
from collections.abc import Iterator
from pathlib import Path

from cosmic_ray import plugins
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code

SOURCE = Path(__file__).resolve().parents[2] / "src"
ROOMS = (
    *("trimllm/units", "trimllm/score", "trimllm/scan", "trimllm/select.py", "trimllm/train"),
    *("trimllm/trimming.py", "trimllm_paper/verdict.py", "trimllm_paper/grid.py"),
    *("trimllm_paper/cells.py", "trimllm_paper/claims"),
)
ARGUED = ("core/VariableInserter", "core/VariableReplacer")
"""Operators that ask for names."""


def modules() -> list[Path]:
    rooms = [SOURCE / room for room in ROOMS]
    return [file for room in rooms for file in (sorted(room.rglob("*.py")) or [room])]


def places(code: str) -> Iterator[tuple[str, int]]:
    """Operator and occurrence of every mutant of a text."""
    nodes = [*ast_nodes(get_ast(code))]
    for name in sorted({*plugins.operator_names()} - {*ARGUED}):
        operator = plugins.get_operator(name)()
        found = sum(len([*operator.mutation_positions(node)]) for node in nodes)
        yield from ((name, occurrence) for occurrence in range(found))


def evaluated(code: str) -> str:
    """What Python evaluates of a module: all but its annotations."""
    tree = ast.parse(code)
    for node in ast.walk(tree):
        if isinstance(node, ast.arg | ast.AnnAssign):
            node.annotation = ast.Constant(None)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node.returns = None
    return ast.dump(tree)


def mutant(file: Path, operator: str, occurrence: int) -> dict[str, str] | None:
    """A mutant; nothing where the change is none, or no Python."""
    code = file.read_text(encoding="utf-8")
    changed = mutate_code(code, plugins.get_operator(operator)(), occurrence)
    try:
        if changed is None or evaluated(changed) == evaluated(code):
            return None
    except SyntaxError:
        return None
    lines = difflib.unified_diff(code.splitlines(), changed.splitlines(), lineterm="", n=0)
    change = " ".join(line.strip() for line in [*lines][2:])
    module = file.relative_to(SOURCE).as_posix()
    return {"module": module, "source": changed, "change": change}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("number", type=int, help="of mutants")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    args = parser.parse_args()
    every = [(file, *place) for file in modules() for place in places(file.read_text("utf-8"))]
    random.Random(args.seed).shuffle(every)
    found = filter(None, (mutant(*one) for one in every))
    for _, one in zip(range(args.number), found, strict=False):
        print(json.dumps(one), flush=True)


if __name__ == "__main__":
    main()
