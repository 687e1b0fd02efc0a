"""config/README.md is generated from the models, and every key has a meaning."""

from __future__ import annotations

from pathlib import Path

from trimllm.sublayers.modeling_trimllm import FAMILIES
from trimllm_paper.config import document, models

ROOT = Path(__file__).parents[3]


def test_the_committed_page_is_current() -> None:
    assert document.README.read_text() == document.readme(), (
        "run python -m trimllm_paper.config.document"
    )


def test_every_key_has_a_meaning_and_stands_in_the_default_file() -> None:
    lines = [line for kind in document.KINDS.values() for _, line in document.keys(kind)]
    assert len(lines) > 150 and not [line for line in lines if line.endswith(("`", ")", "None"))]
    default = (ROOT / "config/config.yaml").read_text()
    of_sources = {"hub", "revision", "directory", "tag"}
    keys = {line.split("`")[1].partition(":")[0] for _, line in document.keys(document.Config)}
    assert {key for key in keys if f"{key}:" not in default} <= of_sources


def test_families_are_those_with_an_adapter() -> None:
    assert set(models.FAMILIES) == set(FAMILIES)
