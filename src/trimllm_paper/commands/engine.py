"""Prints the Python of an engine that has an environment of its own, made first if need be.

Looked for in this order: the Python that runs this (with `--sdm conda` that of the engine's conda
environment), the variable, `.envs/`, and else `make` builds `.envs/`. Rules run this file by its
path in any of these environments: it imports nothing but the standard library and what imports
nothing else.
"""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
sys.path.insert(0, str(ROOT / "src"))

from trimllm.base.errors import UserError  # noqa: E402
from trimllm.base.workers import python_of  # noqa: E402
from trimllm.compress.methods import EXTERNAL  # noqa: E402


def run(engine: str) -> int:
    """Print the path; `UserError` where the environment cannot be made."""
    if engine not in EXTERNAL:
        raise UserError(f"there is no external engine {engine!r}; use {' or '.join(EXTERNAL)}")
    folder = EXTERNAL[engine]
    try:
        importlib.metadata.version(engine)
        print(sys.executable)
        return 0
    except importlib.metadata.PackageNotFoundError:
        pass
    try:
        print(python_of(folder, "envs"))
    except UserError:
        if f"TRIMLLM_{folder.upper()}_PYTHON" in os.environ:  # wrong: nothing is built instead
            raise
        stamp = f".envs/{folder}/.complete"
        if subprocess.run(["make", "-C", ROOT, stamp], stdout=sys.stderr).returncode:
            raise UserError(f"the environment of {engine} cannot be made (see above)") from None
        print(ROOT / f".envs/{folder}/bin/python")
    return 0


if __name__ == "__main__":
    from trimllm_paper.__main__ import main

    sys.exit(main(["engine", *sys.argv[1:]]))
