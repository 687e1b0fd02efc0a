"""Reports of prepared domains: read as the library writes them, kept ones too, or refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from configurations import ROOT

from trimllm.base.errors import UserError
from trimllm_paper import kept_runs
from trimllm_paper.records import DataReport

KEPT = [p for f in ROOT.glob("results/reference*") for p in kept_runs.glob(f, "data/*/report.json")]


@pytest.mark.parametrize("path", KEPT, ids=lambda path: f"{path.parts[-4]}/{path.parts[-2]}")
def test_kept_reports_are_read(path: Path) -> None:
    found, content = DataReport.read(path), kept_runs.read_json(path)
    assert found.model_dump(mode="json", exclude_unset=True) == content
    assert ("train" in found.splits) == ("train.jsonl" in found.files)


@pytest.mark.parametrize(
    "change, told",
    [
        ({"files": None}, "lacks `files`"),
        ({"domain": None}, "lacks `domain`"),
        ({"splits": {"train": {}}}, "lacks `splits.train.documents`"),
        ({"files": {"train.jsonl": 3}}, "`files.train.jsonl` is 3: input should be a valid string"),
    ],
    ids=str,
)
def test_what_is_no_report_is_one_line(
    tmp_path: Path, change: dict[str, object], told: str
) -> None:
    content = kept_runs.read_json(KEPT[0]) | change
    path = tmp_path / "report.json"
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))
    with pytest.raises(UserError, match="delete it and run again") as refused:
        DataReport.read(path)
    assert told in str(refused.value) and "\n" not in str(refused.value)
    path.write_text("[]")
    with pytest.raises(UserError, match="report.json"):
        DataReport.read(path)
