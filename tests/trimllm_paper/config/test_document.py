"""config/README.md is generated from the models, and every key has a meaning."""

from __future__ import annotations

from pathlib import Path

import pytest

from trimllm.sublayers import supported_families
from trimllm_paper.config import document, sources
from trimllm_paper.config.domain import Domain
from trimllm_paper.config.models import Config
from trimllm_paper.config.parts import Section

ROOT = Path(__file__).parents[3]


def test_the_committed_page_is_current() -> None:
    assert document.README.read_text() == document.readme(), (
        "run python -m trimllm_paper.config.document"
    )


@pytest.mark.parametrize("kind", [Config, Domain])
def test_every_key_has_a_meaning(kind: type[Section]) -> None:
    assert not [row for *_, row in document.keys(kind) if row.endswith("|  |")]


def test_every_key_stands_in_the_default_file() -> None:
    default = (ROOT / "config/config.yaml").read_text()
    elsewhere = {"hub", "revision", "directory", "tag"}
    missing = {key for _, key, _ in document.keys(Config) if f"{key}:" not in default}
    assert missing <= elsewhere


def test_one_key_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    document.main(["trim.documents"])
    line = "trim | `documents` | integer ≥ 1 or null | `null` | Training documents an epoch."
    assert capsys.readouterr().out.startswith(line)


def test_families_are_those_with_an_adapter() -> None:
    assert set(sources.FAMILIES) == set(supported_families())
