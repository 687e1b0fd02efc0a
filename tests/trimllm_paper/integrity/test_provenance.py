"""Which code made a result."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from trimllm_paper.integrity import provenance


@pytest.mark.parametrize(
    "changed, mark",
    [(None, ""), ("paper_figures/f.png", ""), ("src/trimllm/a.py", "-dirty")],
)
def test_only_changed_code_marks_a_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: str | None, mark: str
) -> None:
    for name in ("src/trimllm/a.py", "workflow/b.smk", "paper_figures/f.png", "Snakefile"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("one")
    who = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    for words in (["init", "-q"], ["add", "-A"], [*who, "commit", "-qm", "first"]):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    if changed:
        (tmp_path / changed).write_text("two")
    head = subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=tmp_path, text=True)
    assert provenance.git_commit() == head.strip() + mark


def test_a_record_holds_code_machine_and_what_the_caller_knows() -> None:
    record = provenance.record(datetime.now(UTC), "c0de", seed=3)
    assert record["code_hash"] == "c0de" and record["seed"] == 3 and record["peak_rss_bytes"] > 0
    assert 0 <= record["wall_seconds"] < 60
