"""The walk of CONTRIBUTING.md, from a cell of Table 2 to Eq. 3: kept results and code follow it."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from statistics import fmean

import pandas as pd
import pytest

from trimllm.select import importance
from trimllm_paper.recipe import Paths, place_of
from trimllm_paper.records import Epoch, Evaluation

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
STEPS = re.findall(r"^\d\. `([\w/.]+)`: `(\w+)`", TEXT, flags=re.MULTILINE)
KEPT = ROOT / "results" / "reference"


def named_in(file: str) -> dict[str, ast.AST]:
    """Functions and classes of a file, methods included."""
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.ClassDef)
    return {node.name: node for node in ast.walk(tree) if isinstance(node, kinds)}


def test_the_walk_has_five_looks_and_each_is_there() -> None:
    assert len(STEPS) == 5
    for file, name in STEPS:
        assert name in named_in(file), f"{file} has no {name} any more: CONTRIBUTING.md"


def test_every_path_that_the_map_names_exists() -> None:
    for path in re.findall(r"`((?:src|tests|workflow|config)/[\w./]+)`", TEXT):
        assert (ROOT / path).exists(), path
    for package in ("trimllm", "trimllm_paper"):
        folder = ROOT / "src" / package
        told = TEXT.split(f"src/{package}/", 1)[1].split("\n\n", 1)[0]
        first = [line.split("  ")[1].split("   ")[0] for line in told.splitlines()[1:]]
        for name in re.findall(r"[\w./]+", " ".join(first)):
            assert list(folder.glob(f"{name.rstrip('/')}*")), f"{package}: {name}"


def test_a_cell_of_table_2_leads_to_equation_3() -> None:
    table = pd.read_csv(KEPT / "tables" / "table2.csv")
    cell = table[(table.row == "trimllm_50") & (table.column == "piqa")].dropna(subset="measured")
    source, *seeds = cell.sources.iloc[0].split(";")
    # 1 and 2: the files that the cell names, one a seed, hold its number
    evaluation = Evaluation.read(ROOT / source)
    each = [evaluation.acc, *(Evaluation.read(ROOT / one).acc for one in seeds)]
    assert fmean(each) == pytest.approx(cell.measured.iloc[0])
    # 3: the same recipe names the record of the epoch
    place, paths = place_of(source), Paths(str(KEPT))
    epoch = Epoch.read(paths.epoch(place.model, place.domain, place.recipe))
    assert epoch.parsed == evaluation.parsed.state and evaluation.recipe == cell.recipe.iloc[0]
    assert epoch.units_total - epoch.units_left == place.recipe.dropped
    # 4 and 5: what went first has the lowest score of Eq. 3 among all candidates
    scores = {(u["block"], u["kind"]): u for u in epoch.scan["units"]}
    first = scores[tuple(epoch.units_dropped[0])]
    eq3 = {place: importance(unit["accuracy"]) for place, unit in scores.items()}
    assert eq3[first["block"], first["kind"]] == min(eq3.values())


def test_which_unit_went_is_chosen_by_the_functions_that_the_walk_names() -> None:
    body = ast.unparse(named_in("src/trimllm/trimming.py")["trim"])
    for call in ("scan(", "choose(", "drop(", "train_pass("):
        assert call in body, call
    criterion = (ROOT / "src/trimllm/select.py").read_text(encoding="utf-8")
    assert "importance(scan.accuracy[unit])" in criterion
