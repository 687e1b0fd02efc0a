"""The page that shows everything in order."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import pytest
from evaluation_files import Evaluations

from trimllm.base.errors import UserError
from trimllm_paper import overview
from trimllm_paper.figures.style import figure, save


class Links(HTMLParser):
    """Collects tags, and everything that a page would load or point to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes) -> None:
        self.tags.append(tag)
        self.links += [value for key, value in attributes if key in ("src", "href", "srcset")]


@pytest.fixture
def parts(tmp_path: Path, evaluations: Evaluations) -> dict[str, object]:
    evaluations.add("full_ft", 80)
    with figure(1, 1, 1) as (drawn, _):
        save(drawn, tmp_path / "figure1_tiny")
    (tmp_path / "claims.md").write_text("# Claims\n\n| a | b |\n|---|---|\n| 1 &lt; 2 | ✓ |\n")
    (tmp_path / "table2.md").write_text("# Table 2\n\n| x |\n|---|\n| <script>bad</script> |\n")
    captions = []
    for name in ("figure1", "table2"):
        captions.append(tmp_path / f"{name}.rst")
        captions[-1].write_text(f"**Caption of {name}.** With *emphasis*.")
    return {
        "claims": tmp_path / "claims.md",
        "figures": [tmp_path / "figure1_tiny.png"],
        "tables": [tmp_path / "table2.md"],
        "captions": captions,
        "evals": evaluations.paths,
    }


def test_the_page_loads_nothing(tmp_path: Path, parts: dict) -> None:
    overview.write(tmp_path / "page.html", **parts)
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    page = Links(text)
    assert all(link.startswith(("#", "data:")) for link in page.links)
    assert "script" not in page.tags and page.tags.count("img") == 1
    assert page.tags.count("table") == 2
    assert "1 &lt; 2" in text and "Caption of figure1." in text and "<em>emphasis</em>" in text
    assert "Measured here" in text and "A &amp; B_Processor" in text


def test_what_has_no_caption_is_refused(tmp_path: Path, parts: dict) -> None:
    with pytest.raises(UserError, match="workflow/report/figure1.rst"):
        overview.write(tmp_path / "page.html", **parts | {"captions": []})
    assert not (tmp_path / "page.html").exists()
