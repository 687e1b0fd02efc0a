"""The table of threats names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

from trimllm_paper import integrity


def test_every_threat_has_a_test() -> None:
    rows = [line for line in integrity.__doc__.splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 9
    for row in rows:
        named = re.findall(r"`([a-z_/]+/test_[a-z_]+\.py)`", row)
        assert named, row
        for file in named:
            assert (Path(__file__).parents[2] / file).is_file(), file
