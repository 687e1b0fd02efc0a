"""The pages that people read: links, generated blocks, README's length and its Python example."""

import re
import subprocess
from pathlib import Path

import pytest
from models import tiny, word_tokenizer

import trimllm
from trimllm_paper import pages

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
TRACKED = subprocess.run(
    ["git", "ls-files", "*.md"], cwd=ROOT, check=True, capture_output=True, text=True
).stdout.split()
LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([\w-]+))?\)")


def anchors(page: Path) -> set[str]:
    """Names of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings}


@pytest.mark.parametrize("page", [one for one in TRACKED if not one.startswith("results/")])
def test_every_link_leads_somewhere(page: str) -> None:
    for target, anchor in LINK.findall((ROOT / page).read_text()):
        path = (ROOT / page).parent / target if target else ROOT / page
        assert path.exists(), target
        assert not anchor or anchor in anchors(path), f"{target}#{anchor}"


@pytest.mark.parametrize("page", pages.PAGES, ids=str)
def test_generated_blocks_are_those_of_the_kept_runs(
    page: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    text = page.read_text()
    assert text == pages.filled(text), "run python -m trimllm_paper.pages"


def test_the_python_example_runs_as_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    (checkpoint,) = re.findall(r'checkpoint = "(.+?)"', example)
    trimllm.save(tiny("llama", num_hidden_layers=30), word_tokenizer(), checkpoint)
    exec(compile(example, "README.md", "exec"), {})
    model, _ = trimllm.load("trimmed")
    assert len(trimllm.units(model)) == 54
