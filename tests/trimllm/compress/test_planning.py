"""What planning reads of compressors costs it nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import trimllm
from trimllm import compress
from trimllm.compress.engines import METHODS
from trimllm.compress.run import method_of

LIGHT = """
import sys
from trimllm.compress import ENGINES, METHODS, default_engine, missing_package
from trimllm.compress.engines import engine_python, variable
assert not {"torch", "transformers", "numpy", "pandas", "scipy"} & sys.modules.keys()
print(*(default_engine(method) for method in METHODS))
"""


def test_methods_and_engines_are_known_without_torch() -> None:
    source = str(Path(trimllm.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": source}
    run = subprocess.run(
        [sys.executable, "-c", LIGHT], env=environment, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == [next(iter(engines)) for engines in METHODS.values()]


def test_every_method_has_its_file_and_all_that_is_told_of_it() -> None:
    for name in METHODS:
        method = method_of(name)
        assert callable(method.compress) and callable(method.plain_)
        assert method.yardstick and 0 <= method.margin < 0.5
    assert compress.check and compress.compress
