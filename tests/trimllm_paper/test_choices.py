"""Records of a run on one's own data: taken only as they were written, and where they belong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from trimllm.base.errors import UserError
from trimllm_paper.integrity import checks
from trimllm_paper.recipe import Paths
from trimllm_paper.records import Answers, Choice

PROVENANCE = {"config_hash": "c0ffee"}
CANDIDATE: dict[str, Any] = {
    **{"recipe": "full_ft", "free": False, "accuracy": 80.0, "likelihood": -0.5, "documents": 85},
    **{"bytes": 10, "tokens_per_second": 20.0, "units_kept": 60},
}
CHOICE: dict[str, Any] = {
    **{"model": "tiny", "domain": "my", "hardware": "box", "format": "padded"},
    **{"wanted": {"above_percent": 95.0}, "candidates": [CANDIDATE], "recipe": "full_ft"},
    **{"missed": {}, "told": "one line", "provenance": PROVENANCE},
}
ANSWERS: dict[str, Any] = {
    **{"model": "tiny", "domain": "my", "recipe": "full_ft", "seed": 0, "perplexity": 20.5},
    "documents": [{"prompt": "q?", "right": "a", "said": "b", "correct": False}],
    **{"tokens": 600, "provenance": PROVENANCE},
}


def written(root: Path) -> tuple[Path, Path]:
    paths = Paths(str(root))
    choice, answers = Path(paths.chosen("tiny")), Path(paths.answers("tiny", "full_ft"))
    Choice(**CHOICE).write(choice)
    Answers(**ANSWERS).write(answers)
    return choice, answers


def test_what_is_written_is_read_and_verified(tmp_path: Path) -> None:
    choice, answers = written(tmp_path)
    assert Choice.read(choice).chosen.accuracy == 80
    assert Answers.read(answers).documents[0].said == "b"
    assert set(checks.result_files(tmp_path)) == {choice, answers}
    counts, problems = checks.verify(tmp_path)
    assert counts["results"] == 2 and not problems


def test_a_record_lies_where_it_belongs(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="lies under"):
        Choice(**CHOICE).write(Paths(str(tmp_path)).chosen("other"))
