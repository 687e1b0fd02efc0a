"""Tables 4 and 5: a row's domain was trained on, a column's was tested."""

from __future__ import annotations

import pytest
from evaluation_files import Evaluations
from table_building import build, column

from trimllm_paper import published
from trimllm_paper.render import Table, to_csv, to_markdown

NAMES = ("medmcqa", "pubmedqa", "lexglue", "legalbench")
NEAR = {"medmcqa": "pubmedqa", "lexglue": "legalbench"}
RECIPE = "trim_{}/drop_36"
# Accuracy by (trained on, tested on); pretrained 50% everywhere.
BOTH = {
    ("medmcqa", "medmcqa"): 70,
    ("medmcqa", "pubmedqa"): 65,
    ("medmcqa", "lexglue"): 30,
    ("medmcqa", "legalbench"): 52,
    ("lexglue", "lexglue"): 50,
    ("lexglue", "medmcqa"): 72,
}


def near4(evaluations: Evaluations, **changes: object) -> Table:
    """Table 4; every test has another name than its domain."""
    trained, tested = ([column(n, f"{n}_test") for n in names] for names in (NEAR, NEAR.values()))
    paths = evaluations.paths
    return build("table4", paths, domains=trained, tested=tested, near=NEAR, **changes)


@pytest.fixture
def cross(evaluations: Evaluations) -> Evaluations:
    for name in NAMES:
        evaluations.add("pretrained", 50, domain=name, task=f"{name}_test")
    for (trained, tested), accuracy in BOTH.items():
        recipe = RECIPE.format("paper")
        evaluations.add(recipe, accuracy, domain=trained, task=f"{tested}_test", kept=24)
    recipe = RECIPE.format("ours")
    evaluations.add(recipe, 61, domain="lexglue", task="legalbench_test", kept=24)
    return evaluations


@pytest.fixture
def near(cross: Evaluations) -> Table:
    return near4(cross)


def test_each_cell_is_the_model_of_its_row_on_the_tests_of_its_column(near: Table) -> None:
    for (trained, tested), accuracy in BOTH.items():
        cell = near.cell("tiny", f"{trained}_specialized", tested)
        assert cell.measured == accuracy
        assert f"/{trained}/trim_paper" in cell.sources[0] and f"{tested}_test" in cell.sources[0]
        assert cell.details["trained_on"] == trained
    assert near.cell("tiny", "lexglue_specialized", "legalbench").verdict == "not run"
    ours = near.cell("tiny", "lexglue_specialized_ours", "legalbench")
    assert ours.measured == 61 and ours.published is None and ours.verdict is None


def test_verdicts_ask_for_the_sign_of_the_papers_difference(near: Table) -> None:
    def verdict(row: str, column: str) -> str | None:
        return near.cell("tiny", row, column).verdict

    # The paper: near +53.7, far -19.7, on its own domain +25.1.
    assert verdict("medmcqa_specialized", "pubmedqa") == "seen on the stand-in"
    assert verdict("medmcqa_specialized", "lexglue") == "seen on the stand-in"
    assert verdict("medmcqa_specialized", "medmcqa") == "seen on the stand-in"
    # The paper loses on legalbench; two points more in 200 documents are no loss.
    assert verdict("medmcqa_specialized", "legalbench") == "undecided"
    # It gains on its own domain, which ours leaves open; and loses far from it, where ours gains.
    assert verdict("lexglue_specialized", "lexglue") == "undecided"
    assert verdict("lexglue_specialized", "medmcqa") == "not seen on the stand-in"


def test_the_pretrained_row_is_judged_by_the_expert_of_the_column(near: Table) -> None:
    assert near.cell("tiny", "pretrained", "pubmedqa").verdict == "seen on the stand-in"
    assert near.cell("tiny", "pretrained", "lexglue").verdict == "undecided"
    # The expert of legalbench, the model of lexglue, was not tested on it.
    assert near.cell("tiny", "pretrained", "legalbench").verdict == "not run"


def test_a_model_that_has_lost_its_own_domain_shows_no_specialization(cross: Evaluations) -> None:
    """At chance where Full-FT is at 80%, or below the untrained: its falls elsewhere stay open."""
    recipe, of = RECIPE.format("paper"), {"domain": "medmcqa", "kept": 24}
    cross.add("full_ft", 80, domain="medmcqa", task="medmcqa_test")
    chance = {"chance": 25.0}
    cross.add(recipe, 26, task="medmcqa_test", **of, **chance)
    near = near4(cross)
    assert near.cell("tiny", "medmcqa_specialized", "medmcqa").verdict == "collapsed"
    fallen = near.cell("tiny", "medmcqa_specialized", "lexglue")
    assert fallen.verdict == "undecided" and "no sign of specialization" in fallen.why
    cross.add(recipe, 38, task="medmcqa_test", **of, **chance)  # the untrained one has 50
    below = near4(cross)
    assert (
        below.cell("tiny", "medmcqa_specialized", "medmcqa").verdict == "not seen on the stand-in"
    )
    assert below.cell("tiny", "medmcqa_specialized", "lexglue").verdict == "undecided"
    # What it gains near its own domain it gains, and what it does not lose refutes.
    assert near.cell("tiny", "medmcqa_specialized", "pubmedqa").verdict == "seen on the stand-in"
    cross.add(recipe, 70, task="lexglue_test", **of, **chance)
    risen = near4(cross).cell("tiny", "medmcqa_specialized", "lexglue")
    assert risen.verdict == "not seen on the stand-in"


def test_table_5_has_all_domains_of_the_paper_as_rows_and_columns(cross: Evaluations) -> None:
    domains = [column(name, f"{name}_test") for name in ("medmcqa", "lexglue")]
    table = build("table5", cross.paths, domains=domains, chains=["paper"])
    paper = published.table("table5")
    assert tuple(column.key for column in table.columns) == paper.columns
    assert tuple(row.key for row in table.blocks[0].rows) == paper.rows()
    assert table.cell("tiny", "lexglue_specialized", "medmcqa").measured == 72
    assert table.cell("tiny", "piqa_specialized", "piqa").verdict == "not run"
    assert "MedMCQA-specialized" in to_markdown(table) and "trained_on" in to_csv(table)
