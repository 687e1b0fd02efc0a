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

SHOWN = ROOT / "paper_figures"
MODEL = "smollm2-135m"
STEMS = [f"{name}_{MODEL}" for name in FIGURES] + ["readme_sciq"]


def kept(name: str) -> tuple[Targets, Context]:
    """The files of a kept run, and what its configuration shows."""
    folder = Path(f"results/{name}")
    config = load(read_yaml(folder / "config.yaml"), [folder / "config.yaml"])
    timed = {path.parts[3] for path in kept_runs.glob(folder, "throughput/**/*.json")}
    return Targets(Jobs(config), *timed or [""], kept=True), Context.of(config, MODEL)


@pytest.mark.slow
@pytest.mark.parametrize("stem", STEMS)
def test_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stem: str) -> None:
    monkeypatch.chdir(ROOT)
    figure = stem.partition("_")[0]
    targets, context = kept("reference_real" if figure == "readme" else "reference")
    frame = Frame.of(**targets.figure(figure, MODEL))
    import_module(f"trimllm_paper.figures.{figure}").draw(frame, context, tmp_path / stem)
    for file in (f"{stem}.png", f"{stem}.pdf"):
        assert (tmp_path / file).read_bytes() == (SHOWN / file).read_bytes()


def test_claims(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    targets, context = kept("reference")
    assert Context.model_validate(context.model_dump(mode="json")) == context
    claims.write(Frame.of(**targets.claims()), [context], tmp_path / "claims")
    claims.write_contradictions(tmp_path / "contradictions.md")
    for file in ("claims.md", "claims.csv", "contradictions.md"):
        assert (tmp_path / file).read_text("utf-8") == (SHOWN / file).read_text("utf-8")
