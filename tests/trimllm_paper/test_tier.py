"""Which numbers were measured here, and which are kept."""

from __future__ import annotations

from pathlib import Path

from trimllm_paper import kept_runs
from trimllm_paper.tier import tier_note


def test_a_note_says_what_was_measured_here(tmp_path: Path) -> None:
    kept, mine = tmp_path / "results/kept_real", tmp_path / "results"
    kept_runs.write(kept, {"scans/m/d.json": {"content": {}}}, "seed: 0\n")
    of_kept = [kept / "scans/m/d.json", kept / "seed_1/eval/m/d/full_ft/t.json"]
    of_mine = [mine / "scans/m/d.json"]
    assert tier_note([*of_kept]) == (
        "Reference: kept results of an earlier run (results/kept_real), not measured here"
    )
    assert tier_note(of_mine) == "Measured here"
    assert tier_note([*of_kept, *of_mine]).startswith("Mixed")
    assert tier_note([]) == "Nothing measured"
