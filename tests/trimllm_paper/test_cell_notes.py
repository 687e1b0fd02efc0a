"""What stands under a table of its own cells: which columns count, and what is kept there."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pandas as pd
import pytest
from configurations import ROOT
from evaluation_files import Evaluations
from table_building import build, column

from trimllm_paper.render import to_csv

DOMAINS = [column("sciq"), column("medmcqa"), column("piqa")]


def report(folder: Path, domain: str, words: float | None) -> Path:
    """A kept report, with another domain's test."""
    (kept,) = ROOT.glob("results/reference/data/sciq/report.json")
    content = json.loads(kept.read_text()) | {"domain": domain}
    path = folder / "data" / domain / "report.json"
    path.parent.mkdir(parents=True)
    test = {"set": domain, "bag_of_words": words}
    splits = content["splits"] | {f"tests/{domain}": {"documents": 400}}
    path.write_text(json.dumps(content | {"tests": {domain: test}, "splits": splits}))
    return path


def test_a_column_counts_where_full_ft_is_far_above_chance_and_above_words(
    evaluations: Evaluations,
) -> None:
    """Chance is 25; of the words the mean over seeds is taken. The gain is told, and not asked."""
    accuracies, words = {"sciq": 45, "medmcqa": 45, "piqa": 44.5}, {"sciq": 35, "medmcqa": 35.5}
    reports = []
    evaluations.add("pretrained", 43, domain="sciq")
    for domain, percent in accuracies.items():
        evaluations.add("full_ft", percent, domain=domain)
        reports.append(report(evaluations.root, domain, words.get(domain, 26)))
    reports.append(report(evaluations.root / "seed_1", "sciq", 34))
    (told,) = (
        note
        for note in build("table2", evaluations.paths, domains=DOMAINS, data=reports).notes
        if "bag of words" in note
    )
    assert "PIQA 19.5 / 18.5 / –, SciQ 20.0 / 10.5 / 2.0, MedMCQA 20.0 / 9.5 / –. " in told
    assert told.endswith("by 20 and 10 of the first two: SciQ")
    none = build("table2", evaluations.paths, domains=DOMAINS)
    assert not any("bag of words" in note for note in none.notes)
    free = [report(evaluations.root / "free", "sciq", None)]
    again = build("table2", evaluations.paths, domains=DOMAINS, data=free)
    assert not any("bag of words" in note for note in again.notes)


def test_shares_of_full_ft_and_of_what_that_has_above_chance(evaluations: Evaluations) -> None:
    evaluations.add("full_ft", 65)
    evaluations.add("full_ft", 20, domain="medmcqa")  # below chance, so that no share is one
    for domain, percent in (("sciq", 45), ("medmcqa", 30), ("piqa", 60)):
        evaluations.add("trim_paper/drop_30", percent, kept=30, domain=domain)
    found = build("table2", evaluations.paths, domains=DOMAINS)
    cells = pd.read_csv(io.StringIO(to_csv(found))).query("row == 'trimllm_50' and model == 'tiny'")
    of = cells.set_index("column")
    assert of.share_of_full_ft["sciq"] == pytest.approx(100 * 45 / 65)
    assert of.share_above_chance["sciq"] == pytest.approx(50)
    assert pd.isna(of.share_above_chance["medmcqa"]) and of.share_of_full_ft["medmcqa"] == 150
    assert pd.isna(of.share_of_full_ft["piqa"])


def test_which_cell_is_of_which_code(evaluations: Evaluations) -> None:
    evaluations.add("full_ft", 65)
    one = build("table2", evaluations.paths)
    assert "Code (git commit): 0123456789ab" in one.notes
    evaluations.add("sparse_ft", 64, provenance={"git_commit": "f" * 40 + "-dirty"})
    both = build("table2", evaluations.paths)
    assert any(
        note.endswith("(that evaluated; which cell: `code` in the CSV)") for note in both.notes
    )
    assert both.cell("tiny", "sparse_ft", "sciq").details["code"] == "f" * 12 + "-dirty"
    assert both.cell("tiny", "full_ft", "sciq").details["code"] == "0123456789ab"
