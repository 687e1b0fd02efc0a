"""Everything rendered again from the kept results, and the report of it in a real browser."""

from __future__ import annotations

import shutil
from base64 import b64decode
from pathlib import Path

import browser
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


def test_all_artifacts_say_that_they_show_kept_results(rendered: Path) -> None:
    folder = rendered / "paper_figures"
    for name in FIGURES:
        assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert (folder / f"{name}.pdf").read_bytes().startswith(b"%PDF")
    page = (folder / "claims.md").read_text(encoding="utf-8")
    assert "Reference: kept results of an earlier run" in page


@pytest.mark.parametrize("suffix", ["md", "tex"])
def test_all_tables_say_that_they_show_kept_results(rendered: Path, suffix: str) -> None:
    for number in range(1, 10):
        text = (rendered / KEPT / f"tables/table{number}.{suffix}").read_text(encoding="utf-8")
        text = " ".join(text.split())
        # Nobody has run an OPT model.
        nothing = number == 8
        assert ("Reference: kept results of an earlier run" in text) != nothing, number
        assert ("Nothing is measured yet" in text) == nothing, number


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


@pytest.fixture(scope="session")
def report(rendered: Path) -> Path:
    run = render(rendered, "--report", "report.html")
    assert run.returncode == 0, run.stderr[-4000:]
    return rendered / "report.html"


@pytest.fixture
def page():
    with browser.opened() as found:
        yield found


def test_the_report_opens_offline_with_everything(report: Path, page: browser.Page) -> None:
    page.open(report)
    page.wait_for("document.querySelector('#app').innerText.includes('Figures')")
    # The page that it opens with says where to begin, and the menu begins there.
    assert 'Start with "1. Claims"' in page.run("document.querySelector('#app').innerText")
    groups = {"1. Claims": 2, "2. Figures": len(FIGURES), "3. Tables": 9}
    assert page.run("Object.keys(categories).sort()") == list(groups)
    entries = page.run("Object.values(results).map(one => [one.name, one.data_uri, one.caption])")
    shown = {*(f"{name}.png" for name in FIGURES), *(f"table{n}.md" for n in range(1, 10))}
    assert {name for name, *_ in entries} == shown | {"claims.md", "contradictions.md"}
    assert len(entries) == sum(groups.values())
    for name, uri, caption in entries:
        made = next(path for path in report.parent.rglob(name) if ".snakemake" not in path.parts)
        assert caption and b64decode(uri.partition("base64,")[2]) == made.read_bytes(), name
    for name in FIGURES:
        # What its menu does with a click on a picture.
        entry = f"Object.values(results).find(one => one.name === '{name}.png')"
        page.run(f"app.setView({{content: 'img', contentPath: {entry}.data_uri}})")
        page.wait_for(f"[...document.images].some(i => i.src === {entry}.data_uri && i.complete)")
        picture = f"[...document.images].find(i => i.src === {entry}.data_uri)"
        assert page.run(f"{picture}.naturalWidth") > 300
        assert page.run(f"{picture}.getBoundingClientRect().width") > 300
    assert_offline(page)


def assert_offline(page: browser.Page) -> None:
    """No error in the console, and nothing was asked for but the file and its own data."""
    assert page.errors == []
    assert {url.partition(":")[0] for url in page.requests} <= {"file", "data", "blob"}
