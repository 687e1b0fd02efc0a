"""Facts about the machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from trimllm.base import machine


@pytest.mark.parametrize("limit, lowered", [("max", False), ("1048576", True), (None, False)])
def test_a_container_has_the_memory_of_its_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str | None, lowered: bool
) -> None:
    path = tmp_path / "memory.max"
    if limit:
        path.write_text(f"{limit}\n")
    monkeypatch.setattr(machine, "CGROUP_LIMIT", path)
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert machine.memory_bytes() == (1 << 20 if lowered else whole)


def test_hardware_and_versions() -> None:
    facts = machine.hardware()
    assert facts["cpu"] and facts["cores"] >= 1 and facts["memory_bytes"] > 1 << 28
    assert "torch" in machine.versions() and "no_such_package" not in machine.versions("no_such")
    assert 1 << 20 < machine.peak_rss_bytes() < 1 << 40
