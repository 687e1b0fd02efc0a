"""Pictures and claims in paper_figures/ are what kept results give, byte for byte."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest
from configurations import ROOT

from trimllm_paper import claims, kept_runs
from trimllm_paper.config import load, read_yaml
from trimllm_paper.context import Context
from trimllm_paper.figures import FIGURES
from trimllm_paper.frames import Frame
from trimllm_paper.jobs import Jobs
from trimllm_paper.targets import Targets

KEPT = Path("results/reference")
MODEL = "smollm2-135m"


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> tuple[Targets, Context]:
    """Which kept results are shown where, and what their configuration shows."""
    monkeypatch.chdir(ROOT)
    file = KEPT / "config.yaml"
    config = load(read_yaml(file), [file])
    (hardware,) = {path.parts[3] for path in kept_runs.glob(KEPT, "throughput/**/*.json")}
    shown = Context.of(config, MODEL)
    assert Context.model_validate(shown.model_dump(mode="json")) == shown
    return Targets(Jobs(config), hardware, kept=True), shown


@pytest.mark.slow
@pytest.mark.parametrize("name", FIGURES)
def test_figures(kept: tuple[Targets, Context], tmp_path: Path, name: str) -> None:
    stem, (targets, shown) = f"{name}_{MODEL}", kept
    found = Frame.of(**targets.figure(name, MODEL))
    import_module(f"trimllm_paper.figures.{name}").draw(found, shown, tmp_path / stem)
    for file in (f"{stem}.png", f"{stem}.pdf"):
        assert (tmp_path / file).read_bytes() == (ROOT / "paper_figures" / file).read_bytes()


def test_claims(kept: tuple[Targets, Context], tmp_path: Path) -> None:
    targets, shown = kept
    claims.write(Frame.of(**targets.claims()), [shown], tmp_path / "claims")
    claims.write_contradictions(tmp_path / "contradictions.md")
    for file in ("claims.md", "claims.csv", "contradictions.md"):
        told = (tmp_path / file).read_text(encoding="utf-8")
        assert told == (ROOT / "paper_figures" / file).read_text(encoding="utf-8")
