"""Shared by all tests: no network, one thread, no test that depends on time."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
# A busy machine takes longer over one example than hypothesis allows.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where several processes share the tests, a file is one's, and so is all that looks at the
    smoke run; what takes minutes begins first, or one of them would end alone."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    smoke = {item for item in items if "smoke" in getattr(item, "fixturenames", ())}
    items.sort(key=lambda item: (item not in smoke, item.path not in slow))
    for item in items:
        item.add_marker(pytest.mark.xdist_group("smoke" if item in smoke else str(item.path)))
