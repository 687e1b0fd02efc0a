"""Which code made a result."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from trimllm.base import files
from trimllm_paper.integrity import provenance


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with a package and a figure, whose commit is asked for."""
    for name in ("src/trimllm/a.py", "workflow/b.smk", "paper_figures/f.png", "Snakefile"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("one")
    who = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    for words in (["init", "-q"], ["add", "-A"], [*who, "commit", "-qm", "first"]):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "changed, dirty",
    [
        (None, False),
        ("paper_figures/f.png", False),
        ("src/trimllm/a.py", True),
        ("Snakefile", True),
    ],
)
def test_only_changed_code_marks_a_commit(checkout: Path, changed: str | None, dirty: bool) -> None:
    if changed:
        (checkout / changed).write_text("two")
    head = ["git", "rev-parse", "HEAD"]
    commit = subprocess.run(head, cwd=checkout, capture_output=True, text=True).stdout.strip()
    found = provenance.git_commit.__wrapped__()
    assert found == commit + ("-dirty" if dirty else "") and len(commit) == 40


def test_a_record_tells_code_machine_and_what_the_caller_knows(tmp_path: Path) -> None:
    told = provenance.Run("c0de").record(seed=3)
    assert told["code_hash"] == "c0de" and told["seed"] == 3 and told["peak_rss_bytes"] > 0
    assert 0 <= told["wall_seconds"] < 60
    path = tmp_path / "a.json"
    files.write_json(path, {"provenance": told})
    assert provenance.recorded(path) == told
    assert provenance.recorded(tmp_path / "none.json") == {}
    path.write_text("[1]")
    assert provenance.recorded(path) == {}
