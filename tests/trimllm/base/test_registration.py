"""transformers is imported without what it hardly needs, which comes when it is called."""

from __future__ import annotations

import gc
import subprocess
import sys

import pytest

from trimllm.base.registration import LATE, without_collection

LIGHT = """
import sys, trimllm.checkpoint
print([name for name in ("sklearn", "scipy.optimize") if name in sys.modules])
from transformers.generation.candidate_generator import roc_curve
from transformers.loss.loss_for_object_detection import linear_sum_assignment
falses, trues, _ = roc_curve([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
print([*map(float, falses)], [*map(float, trues)])
print([*map(int, linear_sum_assignment([[4, 1], [2, 8]])[1])])
import sklearn.metrics, scipy.optimize
print(sklearn.metrics.f1_score([1, 0], [1, 0]), callable(scipy.optimize.minimize))
"""


def test_two_packages_are_imported_when_they_are_called() -> None:
    run = subprocess.run([sys.executable, "-c", LIGHT], capture_output=True, text=True)
    assert run.stdout.splitlines() == [
        "[]",
        "[0.0, 0.0, 0.5, 0.5, 1.0] [0.0, 0.5, 0.5, 1.0, 1.0]",
        "[1, 0]",
        "1.0 True",
    ], run.stderr


@pytest.mark.parametrize("user", LATE)
def test_what_takes_more_of_a_package_finds_it_whole(user: str) -> None:
    """As another version of transformers may."""
    package, name = LATE[user]
    text = (
        "import sys\nfrom trimllm.base import registration\n"
        "sys.path.insert(0, '.')\n"
        f"registration._import_without('user', {package!r}, {name!r})\n"
        "assert 'user' not in sys.modules\nimport user\nprint(user.dummy.__name__)\n"
    )
    more = {"sklearn.metrics": "f1_score", "scipy.optimize": "minimize"}[package]
    program = (
        "import pathlib, tempfile, os\nos.chdir(tempfile.mkdtemp())\n"
        f"pathlib.Path('user.py').write_text('from {package} import {name}, {more} as dummy')\n"
    )
    run = subprocess.run([sys.executable, "-c", program + text], capture_output=True, text=True)
    assert run.stdout == f"{more}\n", run.stderr


@pytest.mark.parametrize("enabled", [True, False])
def test_garbage_is_collected_again_afterwards(enabled: bool) -> None:
    before = gc.isenabled()
    try:
        (gc.enable if enabled else gc.disable)()
        with pytest.raises(ImportError), without_collection():
            assert not gc.isenabled()
            raise ImportError
        assert gc.isenabled() == enabled
    finally:
        (gc.enable if before else gc.disable)()
