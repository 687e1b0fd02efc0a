"""Table 2 from evaluation files: the right number in the right cell, and no other anywhere."""

from __future__ import annotations

from pathlib import Path

import pytest
from evaluation_files import Evaluations
from table_building import TINY, build, column

from trimllm_paper import published
from trimllm_paper.render import Table, to_markdown

PAPER = published.table("table2")
NOT_PRINTED = "ours, not the paper's: compressors that its table does not have"
PAPER_ROWS = [
    *("pretrained", "full_ft", "sparse_ft", "llm_pruner", "sparsegpt_2_4", "llm_int8", "awq_int4"),
    *("trimllm_50", "trimllm_40", "trimllm_30"),
]


@pytest.fixture
def full(evaluations: Evaluations) -> Table:
    for domain in PAPER.columns[:5]:
        evaluations.add_domain(domain, stand_in="Stand-in set")
    return build("table2", evaluations.paths)


def test_cells_hold_measured_published_and_walk_back(full: Table) -> None:
    cell = full.cell("tiny", "trimllm_50", "sciq")
    assert (cell.measured, cell.published, cell.n) == (70.0, 94.2, 200)
    # 93% of Full-FT, on 200 documents: more or less than 90% of it is not decided.
    assert cell.verdict == "undecided"
    assert cell.sources[0].endswith("tiny/sciq/trim_paper/drop_30/sciq.json")
    assert cell.details["minus_full_ft"] == pytest.approx(-5)
    assert cell.details["minus_full_ft_low"] < -5 < cell.details["minus_full_ft_high"]
    assert "keeps 93% of Full-FT, paper 99%" in cell.why
    assert full.cell("tiny", "trimllm_50_ours", "sciq").measured == 73.0
    assert full.cell("tiny", "trimllm_50_ours", "sciq").published is None


def test_free_answers_count_the_f1_of_words_and_other_measures_stand_below(
    evaluations: Evaluations,
) -> None:
    evaluations.add_domain("sciq")
    evaluations.add_free("full_ft", 50, 60.25, 0.0, domain="own")
    evaluations.add_free("trim_paper/drop_30", 25, 40, 2.0, domain="own", kept=30)
    found = build("table2", evaluations.paths, domains=[column("sciq"), column("own")])
    cell = found.cell("tiny", "trimllm_50", "own")
    assert cell.measured == pytest.approx(40) and cell.details["exact_match"] == 25
    # Paired by document, all of which lose the same.
    assert cell.details["minus_full_ft_low"] == pytest.approx(-20.25)
    notes = " ".join(to_markdown(found).split())
    assert "Own (F1)" in notes and "SciQ (F1)" not in notes
    assert "SciQ 200 (chance 25.0%), Own (F1) 4 (free answers, F1 of words)" in notes
    assert cell.details["rouge_l"] and cell.details["perplexity"] == pytest.approx(7.389, abs=1e-3)


@pytest.mark.parametrize(
    ("percents", "verdict"), [((44, 34, 23), "not seen"), ((28, 25, 24), "collapsed")]
)
def test_an_interval_that_seeds_made_wide_is_no_collapse(
    tmp_path: Path, percents: tuple[int, ...], verdict: str
) -> None:
    """Both reach down to chance; in the first case half of Full-FT's gain may be left."""
    paths = []
    for seed, percent in enumerate(percents):
        files = Evaluations(tmp_path / f"seed_{seed}")
        files.add("full_ft", 78, seed=seed)
        files.add("trim_paper/drop_30", percent, seed=seed, kept=30)
        paths += files.paths
    cell = build("table2", paths, seed=0).cell("tiny", "trimllm_50", "sciq")
    assert cell.ci95 and cell.ci95[0] < 25 and str(cell.verdict).startswith(verdict)


@pytest.mark.parametrize("missing", ["full_ft", "trim_paper/drop_36", "pretrained"])
def test_a_missing_file_is_a_cell_not_run(evaluations: Evaluations, missing: str) -> None:
    evaluations.add_domain("sciq")
    paths = [path for path in evaluations.paths if f"/{missing}/" not in path.as_posix()]
    row = {"trim_paper/drop_36": "trimllm_40"}.get(missing, missing)
    found = build("table2", paths)
    cell = found.cell("tiny", row, "sciq")
    assert (cell.measured, cell.verdict, cell.published is None) == (None, "not run", False)
    assert found.cell("tiny", "sparse_ft", "sciq").measured == 74.0


def test_true_bytes_are_the_mean_and_range_over_domains(evaluations: Evaluations) -> None:
    for domain, weight in (("sciq", 134_500_000), ("piqa", 161_400_000)):
        evaluations.add("trim_paper/drop_30", 70, domain=domain, kept=30, weight_bytes=weight)
    found = build("table2", evaluations.paths)
    cell = found.cell("tiny", "trimllm_50", "true_bytes")
    assert cell.measured == pytest.approx(55) and cell.spread == pytest.approx((50, 60))
    assert found.cell("tiny", "trimllm_50", "final_mem").measured == 50
    assert found.cell("tiny", "trimllm_50", "megabytes").measured == pytest.approx(147.95)
    assert found.cell("tiny", "trimllm_50", "piqa").details["bytes_percent"] == pytest.approx(60)


def test_the_papers_own_blocks_hold_no_measurement_of_a_stand_in(full: Table) -> None:
    assert [block.key for block in full.blocks] == ["tiny", "llama-13b"]
    paper = full.blocks[1]
    assert paper.is_paper and not paper.measured
    assert [row.key for row in paper.rows] == PAPER_ROWS
    for row in paper.rows:
        for name in PAPER.columns:
            cell = row.cells[name]
            assert cell.published == PAPER.value(row.key, name, "llama-13b")
            assert (cell.measured, cell.verdict) == (None, "not run")


def test_the_papers_model_on_stand_in_data_reproduces_nothing(evaluations: Evaluations) -> None:
    model = TINY | {"name": "big", "label": "LLaMA-7B", "published": "llama-7b"}
    accuracies = {"pretrained": 22.4, "full_ft": 54.6}
    for recipe, acc in accuracies.items():
        for domain, stand_in in (("medmcqa", None), ("sciq", "Other questions")):
            evaluations.add(
                recipe, acc, model="big", domain=domain, n=2000, stand_in=stand_in, kept=60
            )
    found = build("table2", evaluations.paths, models=[model])
    assert found.cell("big", "full_ft", "medmcqa").verdict == "reproduced"
    assert found.cell("big", "full_ft", "sciq").verdict == "seen on the stand-in"
    assert [block.key for block in found.blocks] == ["big", "llama-13b"]


def test_two_seeds_show_their_mean_and_deviation(evaluations: Evaluations) -> None:
    first = Evaluations(evaluations.root / "seed_1")
    for files, seed, acc, weight in ((evaluations, 0, 70, 80), (first, 1, 76, 90)):
        for recipe in ("pretrained", "full_ft", "trim_paper/drop_30"):
            kept = 30 if "drop" in recipe else 60
            files.add(recipe, acc, seed=seed, kept=kept, weight_bytes=weight * 1_000_000)
    evaluations.add("sparse_ft", 70)
    found = build("table2", [*evaluations.paths, *first.paths], seed=0)
    for row in ("pretrained", "full_ft", "trimllm_50"):
        cell = found.cell("tiny", row, "sciq")
        assert (cell.measured, cell.n) == (73.0, 200)
        assert cell.deviation == pytest.approx(18**0.5)
        assert cell.details["chance"] == 25.0 and cell.details["seeds"] == "0;1"
        assert cell.details["weight_bytes"] == 85_000_000
        assert [f"seed_{n}" in cell.sources[n] for n in (0, 1)] == [False, True]
        assert found.cell("tiny", row, "megabytes").measured == pytest.approx(85)
    assert found.cell("tiny", "trimllm_50", "final_mem").measured == 50
    # What one seed alone has shows no deviation.
    assert found.cell("tiny", "sparse_ft", "sciq").deviation is None
    text = to_markdown(found)
    # Two seeds six points apart: t = 12.7, so that the interval says nearly nothing.
    assert text.count("73.0 (34.") == 3 and "Means of 2 seeds" in text
    assert any("some cells have 1 (column" in note for note in found.notes)
    first.add("sparse_ft", 70, seed=1)
    whole = build("table2", [*evaluations.paths, *first.paths], seed=0)
    assert "some cells" not in " ".join(whole.notes)
    assert "±" not in to_markdown(found)


def test_compressors_that_the_papers_table_lacks_are_rows_set_apart(
    evaluations: Evaluations,
) -> None:
    evaluations.add_domain("sciq")
    plain = build("table2", evaluations.paths)
    assert not [row for row in plain.blocks[0].rows if "gptq" in row.key]
    evaluations.add("full_ft+gptq_int4", 71, weight_bytes=90_000_000)
    found = build("table2", evaluations.paths)
    rows = found.blocks[0].rows
    assert [row.key for row in rows][:10] == PAPER_ROWS
    (row,) = [row for row in rows if row.key == "gptq_int4"]
    cell = row.cells["sciq"]
    assert row.section == NOT_PRINTED and "not the paper's" in row.section
    assert (cell.measured, cell.published, cell.verdict) == (71.0, None, None)
    assert row.cells["piqa"].verdict == "not run"
    assert row.cells["final_mem"].measured == pytest.approx(33.457, abs=1e-3)
    assert not [row for row in found.blocks[1].rows if row.key == "gptq_int4"]
    assert f"*{NOT_PRINTED}*" in to_markdown(found)
