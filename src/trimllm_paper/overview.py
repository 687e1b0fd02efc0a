"""One page that shows everything in order: claims, figures, tables, where the numbers come from.

A single HTML file: pictures are part of it, nothing is loaded from elsewhere, and it needs no
script.
"""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from trimllm.base.errors import UserError
from trimllm.base.files import write_text
from trimllm_paper.measured import Results
from trimllm_paper.tables.notes import provenance_notes
from trimllm_paper.tier import tier_note

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff; max-width: 76rem;
       margin: 2rem auto; padding: 0 1.5rem; }
h1, h2, h3 { line-height: 1.25; } h2 { margin-top: 2.5rem; border-bottom: 1px solid #ccc; }
nav a { margin-right: 1.2em; } figure { margin: 1.5rem 0; } figure img { max-width: 100%; }
figcaption { color: #333; } .tier { background: #f2f2f2; padding: .5em .8em; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: 13px; }
th, td { border-bottom: 1px solid #ddd; padding: .25em .6em; text-align: left;
         vertical-align: top; } th { border-bottom: 1px solid #555; }
"""
INTRODUCTION = (
    "TrimLLM (arXiv 2412.11242, ACL 2025) drops attention and MLP sublayers of a language model "
    "while it is fine-tuned on one domain. Below: which of the paper's claims our measurements "
    "show, then its figures and tables, each with our numbers beside the paper's."
)


def write(
    path: str | Path,
    *,
    claims: str | Path,
    figures: Sequence[str | Path],
    tables: Sequence[str | Path],
    captions: Iterable[str | Path],
    evals: Iterable[str | Path],
) -> None:
    """Write the page.

    Args:
        path: the HTML file.
        claims, tables: Markdown files.
        figures: PNG files whose names begin with the figure's, `figure1_MODEL.png`.
        captions: reStructuredText files, named like what they describe.
        evals: evaluation files, whose provenance is told at the end.

    Raises `UserError` for a figure or a table without a caption.
    """
    texts = {Path(one).stem: Path(one).read_text(encoding="utf-8") for one in captions}
    results = Results(evals)
    tier = tier_note(one.source for one in results.measurements)
    provenance = provenance_notes(results.measurements)
    parts = [
        f"<h1>TrimLLM, reproduced</h1><p>{html.escape(INTRODUCTION)}</p>",
        f'<p class="tier">{html.escape(tier)}.</p>',
        '<nav><a href="#claims">Claims</a><a href="#figures">Figures</a>'
        '<a href="#tables">Tables</a><a href="#provenance">Provenance</a></nav>',
        _section("claims", "Claims", _markdown(Path(claims))),
        _section("figures", "Figures", "".join(_figure(Path(one), texts) for one in figures)),
        _section("tables", "Tables", "".join(_table(Path(one), texts) for one in tables)),
        _section("provenance", "Provenance", _list(provenance)),
    ]
    body = "\n".join(parts)
    write_text(
        path,
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<link rel="icon" href="data:,">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>TrimLLM, reproduced</title><style>{STYLE}</style></head>\n"
        f"<body>\n{body}\n</body></html>\n",
    )


def _section(name: str, heading: str, body: str) -> str:
    return f'<section id="{name}"><h2>{heading}</h2>\n{body}</section>'


def _figure(picture: Path, captions: dict[str, str]) -> str:
    name = picture.stem.partition("_")[0]
    caption = _caption(name, captions)
    plain = html.escape(re.sub(r"<[^>]+>", "", caption).strip().splitlines()[0], quote=True)
    data = base64.b64encode(picture.read_bytes()).decode("ascii")
    return (
        f'<figure id="{picture.stem}"><img alt="{plain}" src="data:image/png;base64,{data}">'
        f"<figcaption>{caption}</figcaption></figure>\n"
    )


def _table(file: Path, captions: dict[str, str]) -> str:
    return f'<div id="{file.stem}">{_caption(file.stem, captions)}{_markdown(file)}</div>\n'


def _caption(name: str, captions: dict[str, str]) -> str:
    """A caption as HTML. Raises `UserError` where there is none."""
    from docutils.core import publish_parts

    if name not in captions:
        raise UserError(f"{name} has no caption; write workflow/report/{name}.rst")
    settings = {"file_insertion_enabled": False, "raw_enabled": False, "report_level": 3}
    return publish_parts(captions[name], writer="html5", settings_overrides=settings)["body"]


def _markdown(file: Path) -> str:
    """A Markdown file as HTML, its headings two levels lower, its tables free to scroll."""
    from markdown_it import MarkdownIt

    text = re.sub(r"^(#+) ", r"##\1 ", file.read_text(encoding="utf-8"), flags=re.MULTILINE)
    # Tables have HTML entities, which Markdown keeps, but no tags.
    rendered = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
    return rendered.replace("<table>", '<div class="wide"><table>').replace(
        "</table>", "</table></div>"
    )


def _list(lines: Iterable[str]) -> str:
    return "<ul>" + "".join(f"<li>{html.escape(line)}</li>" for line in lines) + "</ul>"
