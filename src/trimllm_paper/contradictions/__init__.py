"""What in the paper contradicts the paper: found by checking its tables against each other and
against its sentences, never typed.

A check, in the file of its subject, yields `Contradiction`s, each with both numbers and their
places. Printed numbers are rounded: two contradict each other only beyond half of the last printed
digit. The sentences that tables are checked against are quoted with the numbers that they say.
"""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment

from trimllm.base.files import write_text
from trimllm_paper.contradictions import accuracies, costs
from trimllm_paper.contradictions.finding import Contradiction, found, number, of_claim, of_table

__all__ = ["Contradiction", "found", "number", "of_claim", "of_table", "write"]

SUBJECTS = (accuracies, costs)
"""Whose import enters their checks."""
PAGE = Path(__file__).with_name("contradictions.md.jinja")


def write(path: str | Path) -> None:
    """The page that lists them all, whole or not at all."""
    page = Environment(trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
    template = page.from_string(PAGE.read_text(encoding="utf-8"))
    write_text(path, template.render(found=found()))
