"""The page and the table of claims; and every check on the paper's own tables."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest
from paper_results import PaperResults
from result_files import context

from trimllm_paper import claims, published
from trimllm_paper.claims import report
from trimllm_paper.frames import Frame
from trimllm_paper.verdict import NOT_REPRODUCED, NOT_RUN, REPRODUCED

CONTRADICTED = {"no_loss_50": ("47.5", "54.6"), "two_per_epoch": ("7.35", "5 epochs")}
"""Check that the paper's own numbers fail -> the two numbers that contradict each other."""
NO_NUMBER = {"every_engine", "mlp_more_than_attention", "specialization"}
"""Checks that the paper prints no number for: a second engine, and the patterns of Figure 3."""


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> PaperResults:
    return PaperResults(tmp_path_factory.mktemp("paper")).all()


@pytest.fixture(scope="module")
def on_paper(paper: PaperResults) -> dict[str, report.Judged]:
    return {one.claim["id"]: one for one in report.judge_all(paper.frame, paper.context())}


@pytest.mark.parametrize("claim", sorted(one["id"] for one in published.claims()))
def test_the_papers_own_numbers_pass_or_contradict_it(
    claim: str, on_paper: dict[str, report.Judged]
) -> None:
    one = on_paper[claim]
    if claim in CONTRADICTED:
        assert one.verdict == NOT_REPRODUCED, one.finding
        (told,) = published.contradictions(claim=claim)
        assert all(number in told["text"] for number in CONTRADICTED[claim])
    elif claim in NO_NUMBER:
        assert one.verdict == NOT_RUN and one.finding.missing
    else:
        assert one.verdict == REPRODUCED, one.finding


def test_printed_parts_of_specialization_pass(on_paper: dict[str, report.Judged]) -> None:
    """The rise of the model of LexGLUE on PubMedQA starts below chance, and is left out."""
    found = on_paper["specialization"].finding
    assert "second seed" in found.missing and found.comparisons
    assert all(one.p_holds < 0.025 for one in found.comparisons)
    near = {one.name for one in found.comparisons if one.unit.endswith("near domains")}
    assert near == {"lexglue on legalbench", "medmcqa on pubmedqa"}


def test_the_page_has_a_short_row_and_a_section_for_each_claim(
    paper: PaperResults, tmp_path: Path
) -> None:
    claims.write(paper.frame, [paper.context()], tmp_path / "claims")
    page = (tmp_path / "claims.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| [")]
    assert len(rows) == len(published.claims()) and max(map(len, rows)) <= 300
    links = re.findall(r"\]\(#([^)]+)\)", page)
    headings = re.findall(r"^### (.+)$", page, re.MULTILINE)
    assert links == [one.replace(" ", "-") for one in headings]
    table = list(csv.DictReader((tmp_path / "claims.csv").open(encoding="utf-8")))
    assert {line["claim"] for line in table} == {one["id"] for one in published.claims()}
    fastest = next(line for line in table if line["claim"] == "speedup_a100")
    assert float(fastest["value"]) == pytest.approx(188.7 / 42.3, abs=1e-4)
    assert fastest["holds"] == "True" and fastest["basis"] == "3 rounds"


def test_without_measurements_nothing_is_claimed(tmp_path: Path) -> None:
    claims.write(Frame.of(), [context("sciq", "medmcqa")], tmp_path / "claims")
    table = csv.DictReader((tmp_path / "claims.csv").open(encoding="utf-8"))
    assert {line["verdict"] for line in table} == {NOT_RUN}
