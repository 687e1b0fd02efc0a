"""Which checkpoint is chosen."""

from pathlib import Path

import pytest
from result_files import PROVENANCE, Evaluations, TimingFiles

from trimllm_paper.own.choice import card_lines, decide, tokens_per_second
from trimllm_paper.recipe import FULL_FT, Paths
from trimllm_paper.records import Answers, Candidate, Throughput


def candidate(recipe: str, accuracy: float, megabytes: float, speed: float) -> Candidate:
    facts = {"free": False, "likelihood": -1.0, "documents": 85, "units_kept": 60}
    measured = {"bytes": int(megabytes * 1e6), "tokens_per_second": speed}
    return Candidate(recipe=recipe, accuracy=accuracy, **facts, **measured)


FULL = candidate("full_ft", 80.0, 200, 20.0)
SMALL = candidate("trim_ours/drop_12", 77.0, 150, 30.0)
TINY = candidate("trim_ours/drop_30", 60.0, 100, 50.0)
ALL = [FULL, SMALL, TINY]


@pytest.mark.parametrize(
    "required, chosen",
    [
        # The smallest above a share of full fine-tuning.
        *[({"above_percent": 95}, SMALL), ({"above_percent": 97}, FULL)],
        ({"above_percent": 70}, TINY),
        # The most accurate, where no accuracy is required.
        *[({"megabytes": 160}, SMALL), ({"tokens_per_second": 40}, TINY)],
        ({"megabytes": 300}, FULL),
    ],
)
def test_what_is_chosen(required: dict[str, float], chosen: Candidate) -> None:
    choice = decide(ALL, required)
    assert (choice["recipe"], choice["missed"]) == (chosen.recipe, {})


def test_the_summary_names_what_is_missed_and_the_nearest() -> None:
    choice = decide(ALL, {"above_percent": 95, "megabytes": 140})
    assert choice["recipe"] == SMALL.recipe and set(choice["missed"]) == {"megabytes"}
    line = choice["summary"]
    assert "no checkpoint meets it, nearest: trim_ours/drop_12" in line and "size by 7%" in line
    full = decide(ALL, {"above_percent": 97})["summary"]
    assert "chosen: full_ft" in full and "; nearest trimmed: trim_ours/drop_12 (96% of" in full


def test_speed_is_that_of_one_moment(tmp_path: Path) -> None:
    """While the second was timed the machine had more to do, and all took twice as long."""
    files = TimingFiles(tmp_path)
    timed = [
        files.add("trim_half/keep_50", 20.0, full=10.0, kept=22),
        files.add("trim_half/keep_40", 12.5, full=5.0, kept=18),
        files.add("trim_half/keep_30", 30.0, full=10.0, kept=14),
    ]
    speeds = tokens_per_second(map(Throughput.read, timed))
    assert speeds == pytest.approx(
        {"full_ft": 10, "trim_half/keep_50": 20, "trim_half/keep_40": 25, "trim_half/keep_30": 30},
        rel=0.05,
    )


def test_the_card_of_data_that_is_called_answers(tmp_path: Path) -> None:
    """Its evaluations have the name of the records of answers."""
    place = {"model": "tiny", "domain": "answers", "recipe": FULL_FT, "seed": 0}
    test = Evaluations(tmp_path).add(FULL_FT, 80, domain="answers")
    path = Paths(str(tmp_path)).answers("tiny", FULL_FT)
    facts = {"documents": [], "perplexity": 12.5, "tokens": 9, "provenance": PROVENANCE}
    Answers(**place, **facts).write(path)
    accuracy, perplexity = card_lines([str(test), path], [], FULL_FT)
    assert accuracy == "Accuracy on 200 test documents of answers: 80.0%"
    assert perplexity == "Perplexity on neutral English text: 12.5"
