"""Facts about the machine."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from trimllm.base import machine


@pytest.mark.parametrize("limit, expected", [("max", None), ("1048576", 1 << 20), ("", None)])
def test_facts_and_a_container_has_the_memory_of_its_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, expected: int | None
) -> None:
    (tmp_path / "memory.max").write_text(f"{limit}\n")
    monkeypatch.setattr(machine, "CGROUP_LIMIT", tmp_path / "memory.max")
    facts = machine.hardware()
    assert facts["memory_bytes"] == (expected or psutil.virtual_memory().total)
    assert facts["cpu"] and facts["cores"] >= 1
    assert "torch" in machine.versions() and "no_such_package" not in machine.versions("no_such")
    assert 1 << 20 < machine.peak_rss_bytes() < 1 << 40
