"""Table 8: OPT models in their own lines, and nobody else in them."""

from __future__ import annotations

import pytest
from evaluation_files import Evaluations
from table_building import TINY, build

from trimllm_paper import published

PAPER = published.table("table8")


@pytest.mark.parametrize(
    "own, verdict", [("opt-1.3b", "reproduced"), (None, "not seen on the stand-in")]
)
def test_an_opt_model_stands_beside_its_numbers(
    evaluations: Evaluations, own: str | None, verdict: str
) -> None:
    for recipe, accuracy in {"pretrained": 84.9, "full_ft": 70}.items():
        evaluations.add(recipe, accuracy, n=1000)
    evaluations.add("trim_paper/drop_36", 85, kept=24, n=1000)
    model = TINY | {"label": "OPT", "published": own, "family": "opt"}
    table = build("table8", evaluations.paths, models=[model], kept_percent=[50, 40])
    cell = table.cell("tiny", "pretrained", "sciq")
    assert (cell.measured, cell.published, cell.verdict) == (84.9, 84.9, verdict)
    assert table.cell("tiny", "trimllm_40", "sciq").measured == 85
    rows = [row.key for row in table.blocks[0].rows if row.section is None]
    assert tuple(rows) == PAPER.rows("opt-1.3b")
    assert [column.key for column in table.columns][:3] == list(PAPER.columns[:3])


def test_another_family_says_nothing_about_opt(evaluations: Evaluations) -> None:
    evaluations.add("full_ft", 80)
    table = build("table8", evaluations.paths)
    assert [block.key for block in table.blocks] == ["opt-1.3b", "opt-6.7b"]
    assert not any(block.measured for block in table.blocks)
    assert table.cell("opt-6.7b", "full_ft", "medmcqa").published == 49.8
