"""Every check on the paper's own tables: it passes, or names what in the paper contradicts it."""

from __future__ import annotations

from typing import Any

import pytest
from paper_results import PaperResults

from trimllm_paper import published
from trimllm_paper.claims import report
from trimllm_paper.verdict import NOT_REPRODUCED, NOT_RUN, REPRODUCED

CONTRADICTED = {
    "no_loss_50": ("47.5", "54.6"),
    "two_per_epoch": ("7.35", "5 epochs"),
}
"""Check that the paper's own numbers fail -> the two numbers that contradict each other."""
NO_NUMBER = {
    "every_engine": "a second engine: its abstract alone says so",
    "mlp_more_than_attention": "the patterns of Figure 3",
    "specialization": "the patterns of Figure 3, which is the first of its three parts",
}
"""Check that the paper prints no number for -> where that would be."""


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> PaperResults:
    return PaperResults(tmp_path_factory.mktemp("paper")).all()


@pytest.fixture(scope="module")
def on_paper(paper: PaperResults) -> dict[str, dict[str, Any]]:
    found = report.report(paper.frame, paper.context(), [])
    return {one["id"]: one for one in found["claims"]}


@pytest.mark.parametrize("claim", sorted({one["id"] for one in published.claims()}))
def test_the_papers_own_numbers_pass_or_contradict_it(
    claim: str, on_paper: dict[str, dict[str, Any]]
) -> None:
    one = on_paper[claim]
    if claim in CONTRADICTED:
        assert one["verdict"] == NOT_REPRODUCED and one["own"], one["measured"]
        (told,) = one["against_itself"]
        assert all(number in told for number in CONTRADICTED[claim])
    elif claim in NO_NUMBER:
        assert one["verdict"] == NOT_RUN and "not run" in one["measured"]
    else:
        assert one["verdict"] == REPRODUCED, one["measured"]


def test_the_parts_of_specialization_that_are_printed_pass(
    on_paper: dict[str, dict[str, Any]],
) -> None:
    """The rise of the model of LexGLUE on PubMedQA starts below chance, and is told apart."""
    one = on_paper["specialization"]
    assert one["numbers"]["parts"] == {"patterns": None, "unrelated": True, "near": True}
    assert any("29.3 points above" in text for text in one["against_itself"])
    assert {("lexglue", "legalbench"), ("medmcqa", "pubmedqa")} == {
        (x["domain"], x["task"]) for x in one["numbers"]["cross"] if x["near"]
    }


def test_what_a_check_rests_on_is_told(on_paper: dict[str, dict[str, Any]]) -> None:
    """How many of what; accuracies and times are of one seed, and speeds have none."""
    told = {name: (one["n"], one["counted"], one["seeds"]) for name, one in on_paper.items()}
    assert told == {
        **dict.fromkeys(("speedup_consumer", "speedup_a100"), (3, "rounds", None)),
        "compression_8x": (3, "rounds", None),
        **dict.fromkeys(("training_time", "two_per_epoch"), (5, "domains", 1)),
        "no_loss_50": (20_000, "documents", 1),
        "layers_dropped": (8_000, "documents", 1),
        "specialization": (24_000, "documents", 1),  # six tests, of several models
        **dict.fromkeys(
            ("both_best", "r_quarter_best"), (20_000, "documents of each checkpoint", 1)
        ),
        **dict.fromkeys(NO_NUMBER.keys() - {"specialization"}, (None, "documents", None)),
    }
