from __future__ import annotations

from pathlib import Path

import pytest
from models import saved_families

from trimllm.sublayers import Unit

DROPPED = [Unit(0, "attention"), Unit(1, "mlp"), Unit(2, "attention"), Unit(4, "mlp")]


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A trimmed checkpoint of every family; not to be written into."""
    return saved_families(tmp_path_factory.mktemp("trimmed"), DROPPED)
