"""Which numbers were measured here, and which are kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from trimllm_paper.tier import tier, tier_note, tier_of


@pytest.mark.parametrize(
    "path, expected",
    [
        ("results/eval/m/d/full_ft/t.json", "measured here"),
        ("results/reference/eval/m/d/full_ft/t.json", "reference"),
        ("/elsewhere/results/reference/models/m/d/trim_ours/state_03/epoch.json", "reference"),
        ("results/reference/throughput/cpu/m/full.json", "reference"),
        ("results/reference/seed_1/eval/m/d/full_ft/t.json", "reference"),
        ("results/seed_1/eval/m/d/full_ft/t.json", "measured here"),
        # A name inside a measurement is no folder of results.
        ("results/eval/reference/d/full_ft/t.json", "measured here"),
        ("reference/results/eval/m/d/full_ft/t.json", "measured here"),
    ],
)
def test_the_folder_decides(path: str, expected: str) -> None:
    assert tier_of(path) == expected


def test_a_mixture_says_so() -> None:
    both = ["results/eval/a.json", "results/reference/eval/b.json"]
    assert tier(both) == "measured here + reference"
    assert tier_note(both).startswith("Mixed")
    assert tier([]) is None and tier_note([]) == "Nothing measured"


def test_a_folder_with_records_is_kept_whatever_its_name(tmp_path: Path) -> None:
    kept, other = tmp_path / "results/kept_real", tmp_path / "results/mine"
    for folder in (kept, other):
        (folder / "models/m/base/pretrained").mkdir(parents=True)
    for name in ("manifest.json", "records.jsonl"):
        (kept / name).write_text("{}")
    # A checkpoint has a manifest of its own.
    for folder in (kept, other):
        (folder / "models/m/base/pretrained/manifest.json").write_text("{}")
    one, two = (folder / "models/m/base/pretrained/x.json" for folder in (kept, other))
    assert (tier_of(one), tier_of(two)) == ("reference", "measured here")
    assert tier_note([one]).startswith("Reference: kept results of an earlier run (results/kept_r")
