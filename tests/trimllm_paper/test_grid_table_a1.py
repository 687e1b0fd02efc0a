"""Table A1: what each key of the recipe is worth, beside the recipe with as many units."""

from __future__ import annotations

import json

import pytest
from evaluation_files import CHAINS, Evaluations
from table_building import build, column

from trimllm_paper.frames import Frame
from trimllm_paper.intervals import Spread, paired_difference
from trimllm_paper.render import Table

REST = {"settle": 2, "train": True, "teacher": {"kl": 0.7, "hidden": 64}}
OURS = CHAINS["ours"] | {"name": "ours", "rest": json.dumps(REST)}
RECIPES = {
    "ours": OURS,
    "untaught": OURS | {"name": "untaught", "rest": json.dumps(REST | {"teacher": None})},
    "answers": OURS
    | {
        "name": "answers",
        "ratio": 1,
        "rest": json.dumps(REST | {"teacher": {"kl": 0.7, "hidden": 0}}),
    },
}


def table(evaluations: Evaluations, **changes: object) -> Table:
    told = {"recipes": RECIPES, "chains": list(RECIPES), "kept_percent": [50]}
    told |= {"domains": [column("sciq")]}
    return build("table_a1", evaluations.paths, **told | changes)


@pytest.fixture
def chains(evaluations: Evaluations) -> Evaluations:
    for seed in (0, 1, 2):
        evaluations.root = evaluations.root.parent / f"seed_{seed}"
        evaluations.add("full_ft", 80, seed=seed)
        evaluations.add("trim_ours/drop_30", 60 + seed, kept=30, seed=seed)
        # The third seed of it was not run.
        if seed < 2:
            evaluations.add("trim_untaught/drop_30", 50 - 2 * seed, kept=30, seed=seed)
    return evaluations


def test_a_row_is_set_against_the_first_chain_by_the_seeds_that_both_have(
    chains: Evaluations,
) -> None:
    found = table(chains)
    cell = found.cell("tiny", "untaught_50", "sciq_minus")
    assert cell.measured == pytest.approx((50 + 48) / 2 - (60 + 61) / 2)
    runs = Frame.of(chains.paths).evaluations.sort_values("seed")
    mine, theirs = (
        [*runs[(runs.recipe == f"trim_{name}/drop_30") & (runs.seed < 2)].scores]
        for name in ("untaught", "ours")
    )
    # Both recipes' variance between seeds is pooled: of ours over three seeds.
    spread = Spread((2.0 + 1.0) / 1e4, 1)
    expected = paired_difference(mine, theirs, spread=spread)
    assert cell.ci95 == pytest.approx((expected.low, expected.high))
    assert {source.split("/")[-4] for source in cell.sources} == {"sciq"}
    # Its accuracy is that of all its seeds beside.
    assert found.cell("tiny", "untaught_50", "sciq").measured == pytest.approx(49)
