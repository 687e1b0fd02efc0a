"""Free answers through the whole DAG: from a CSV of one's own to a trimmed model's answers."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
from runs import MODEL, SMOKE, snakemake
from shrunk import shrunk

import trimllm_paper
from trimllm_paper import records

DOMAIN = """
label: capitals
licence: none
sets:
  capitals:
    from: [{file: capitals.csv}]
    fields: {question: country, answer: capital}
    prompt: "What is the capital of {question}?"
    chat_template: true
    construct: {kind: free}
train: capitals
tests:
  capitals: {set: capitals}
"""
RECIPES = json.dumps({"paper": {"criterion": "answer_likelihood"}})
OWN = {"domains": "[capitals]", "domains_folder": "domains"}


@pytest.fixture
def capitals(tmp_path: Path) -> Callable[[int], None]:
    """Write the domain and its file of so many rows."""

    def write(rows: int) -> None:
        (tmp_path / "domains").mkdir(exist_ok=True)
        (tmp_path / "domains/capitals.yaml").write_text(DOMAIN)
        with (tmp_path / "capitals.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, delimiter=";")
            writer.writerow(["country", "capital"])
            writer.writerows([f"Land {i}, {i % 3}", f"Town {i % 3}\nof {i}"] for i in range(rows))

    return write


@pytest.mark.slow
def test_a_model_is_trimmed_by_its_answers_and_answers(
    tmp_path: Path, capitals: Callable[[int], None]
) -> None:
    capitals(60)
    options = {**OWN, "recipes": RECIPES, "trim": json.dumps({"kept_percent": [50]})}
    options["configfile"] = shrunk(SMOKE, tmp_path)
    of = "results/eval/smollm2-135m/capitals"
    wanted = [f"{of}/{recipe}/capitals.json" for recipe in ("full_ft", "trim_paper/drop_30")]
    run = snakemake(tmp_path, *wanted, **options)
    assert run.returncode == 0, run.stderr[-4000:]
    (document, *_) = map(json.loads, (tmp_path / "results/data/capitals/train.jsonl").open())
    assert document["messages"][0][0] == "user" and len(document["choices"]) == 1
    chain = tmp_path / MODEL / "capitals/trim_paper"
    for name, gone in (("state_15", 15), ("state_30", 15)):
        epoch = records.Epoch.read(chain / name / "epoch.json")
        scores = {(u["block"], u["kind"]): u["answer_likelihood"] for u in epoch.scan["units"]}
        assert len(epoch.units_dropped) == gone and epoch.scan["baseline_accuracy"] is None
        best = sorted(scores, key=scores.__getitem__, reverse=True)[:gone]
        assert [tuple(unit) for unit in epoch.units_dropped] == best
        assert epoch.held_back.accuracy is None and epoch.held_back.likelihood < 0
    table = trimllm_paper.frame(tmp_path / "results").evaluations.set_index("recipe")
    assert list(table.n) == [8, 8]
    full, trimmed = table.loc["full_ft"], table.loc["trim_paper/drop_30"]
    # Eight documents of one epoch say nothing of which is better; that all is measured is asked.
    for one in (full, trimmed):
        assert one.perplexity == pytest.approx(math.exp(one.answer_loss), rel=1e-4)
    assert full.answer_loss != trimmed.answer_loss
    assert 0 <= full.exact_match <= full.token_f1 == pytest.approx(full.accuracy)
    assert {full.chance, trimmed.chance} == {None}


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        (15, "are too few"),
        (0, "0 of 0 rows do not parse"),
    ],
)
def test_too_few_rows(
    rows: int, told: str, tmp_path: Path, capitals: Callable[[int], None]
) -> None:
    capitals(rows)
    run = snakemake(tmp_path, "results/data/capitals/report.json", **OWN, recipes=RECIPES)
    (line,) = [line for line in run.stderr.splitlines() if "error: " in line]
    assert told in line
    assert not (tmp_path / "results/data/capitals").exists()


def test_a_criterion_that_counts_right_answers_is_refused_before_anything_runs(
    capitals: Callable[[int], None], refused: Callable[..., str]
) -> None:
    capitals(60)
    line = refused("data", **OWN)
    assert "recipes.paper.criterion" in line and "which has free answers; use answer_" in line
    line = refused("data", domains="[sciq]", recipes=RECIPES)
    assert "cannot be calibrated on domain sciq, which has choices; use likelihood there" in line
