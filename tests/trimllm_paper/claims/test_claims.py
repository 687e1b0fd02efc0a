"""The page and the table of claims; and every check on the paper's own tables."""

import csv
from pathlib import Path

import pytest
from paper_results import PaperResults
from result_files import context

from trimllm_paper import claims, published
from trimllm_paper.frames import Frame
from trimllm_paper.verdict import NOT_REPRODUCED, NOT_RUN, REPRODUCED

CONTRADICTED = {"no_loss_50": ("47.5", "54.6"), "two_per_epoch": ("7.35", "5 epochs")}
"""Check that the paper's own numbers fail -> the two numbers that contradict each other."""
NO_NUMBER = {"every_engine", "mlp_more_than_attention", "specialization"}
"""Checks that the paper prints no number for: a second engine, and the patterns of Figure 3."""
CLAIMS = {one["id"]: one for one in published.CLAIMS}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """claims.md and claims.csv of the paper's own tables."""
    folder = tmp_path_factory.mktemp("paper")
    results = PaperResults(folder).all()
    claims.write(results.frame, [results.context()], folder / "claims")
    return folder


@pytest.fixture(scope="module")
def table(written: Path) -> list[dict[str, str]]:
    with (written / "claims.csv").open(encoding="utf-8") as stream:
        return [line for line in csv.DictReader(stream) if line["recipe"] == "paper"]


@pytest.mark.parametrize("claim", sorted(CLAIMS))
def test_the_papers_own_numbers_pass_or_contradict_it(
    claim: str, table: list[dict[str, str]]
) -> None:
    (verdict,) = {line["verdict"] for line in table if line["claim"] == claim}
    if claim in CONTRADICTED:
        assert verdict == NOT_REPRODUCED
        texts = [one["text"] for one in published.contradictions()]
        assert any(all(number in text for number in CONTRADICTED[claim]) for text in texts)
    else:
        assert verdict == (NOT_RUN if claim in NO_NUMBER else REPRODUCED)


def test_printed_parts_of_specialization_pass(table: list[dict[str, str]]) -> None:
    """The rise of the model of LexGLUE on PubMedQA starts below chance, and is left out."""
    lines = [line for line in table if line["claim"] == "specialization"]
    assert "second seed" in lines[0]["missing"]
    assert all(float(line["p_holds"]) < 0.025 for line in lines)
    near = {line["name"] for line in lines if line["unit"].endswith("near domains")}
    assert near == {"lexglue on legalbench", "medmcqa on pubmedqa"}


def test_the_page_has_a_row_for_each_claim(written: Path, table: list[dict[str, str]]) -> None:
    page = (written / "claims.md").read_text(encoding="utf-8")
    for claim, one in CLAIMS.items():
        row, how = [line for line in page.splitlines() if one["text"] in line]
        (verdict,) = {line["verdict"] for line in table if line["claim"] == claim}
        assert verdict in row and row.count(" | ") == 3
        assert how.endswith(one["check"])
    fastest = next(line for line in table if line["claim"] == "speedup_a100")
    assert float(fastest["value"]) == pytest.approx(188.7 / 42.3, abs=1e-4)
    assert fastest["holds"] == "True" and fastest["basis"] == "3 rounds"


def test_without_measurements_nothing_is_claimed(tmp_path: Path) -> None:
    claims.write(Frame.of(), [context("sciq", "medmcqa")], tmp_path / "claims")
    table = csv.DictReader((tmp_path / "claims.csv").open(encoding="utf-8"))
    assert {line["verdict"] for line in table} == {NOT_RUN}
