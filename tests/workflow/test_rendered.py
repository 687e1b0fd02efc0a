"""Everything rendered again from the kept results, and Snakemake's report of it."""

import shutil
from pathlib import Path

import pytest
from runs import ROOT, snakemake

KEPT = "results/reference"
FIGURES = tuple(f"figure{n}_smollm2-135m" for n in (1, 2, 3, 4))


def render(directory: Path, *arguments: str):
    """Run the workflow on a copy of the kept results in `directory`."""
    if not (directory / KEPT).exists():
        shutil.copytree(ROOT / KEPT, directory / KEPT)
    config = directory / KEPT / "config.yaml"
    return snakemake(directory, "all", *arguments, configfile=config, results=KEPT)


@pytest.fixture(scope="session")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("rendered")
    run = render(directory)
    assert run.returncode == 0, run.stderr[-4000:]
    made = ("fetch model", "fine-tune", "trim smollm2", "evaluate ")
    assert "figure1" in run.stderr and not any(words in run.stderr for words in made)
    return directory


@pytest.mark.parametrize("folder", ["paper_figures", f"{KEPT}/tables"])
def test_what_the_project_shows_is_up_to_date(rendered: Path, folder: str) -> None:
    """The same bytes: tables, figures and claims."""
    shown, made = ROOT / folder, rendered / folder
    names = {p.name for p in shown.iterdir() if not p.name.startswith("readme_")}
    assert names == {path.name for path in made.iterdir()}
    old = [name for name in names if (shown / name).read_bytes() != (made / name).read_bytes()]
    assert not old, f"{folder} is old: make figures"


def test_a_changed_kept_result_is_refused(tmp_path: Path) -> None:
    shutil.copytree(ROOT / KEPT, tmp_path / KEPT)
    changed = tmp_path / KEPT / "records.jsonl"
    changed.write_text(changed.read_text().replace('"acc": ', '"acc":  ', 1))
    run = render(tmp_path)
    assert run.returncode != 0 and not (tmp_path / "paper_figures").exists()
    lines = [line for line in run.stderr.splitlines() if "error: " in line]
    assert len(lines) == 1 and changed.name in lines[0] and "make reference" in lines[0]


@pytest.mark.long
def test_the_report_has_all_that_was_rendered(rendered: Path) -> None:
    run = render(rendered, "--report", "report.html")
    assert run.returncode == 0, run.stderr[-4000:]
    page = (rendered / "report.html").read_text(encoding="utf-8")
    pictures = {f"{name}.png" for name in FIGURES}
    texts = {"claims.md", "contradictions.md", *(f"table{n}.md" for n in range(1, 10))}
    assert not [name for name in pictures | texts if f'"{name}"' not in page]
    assert all(title in page for title in ("1. Claims", "2. Figures", "3. Tables"))
