"""Prints the Python of an engine that has an environment of its own, made first if need be.

    python -m trimllm_paper.commands.engine autoawq

Looked for in this order: the Python that runs this (with `--sdm conda` that of the engine's conda
environment), the variable, `.envs/`, and else `make` builds `.envs/`. Runs in any of these
environments, so it imports nothing but the standard library and what imports nothing else.
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
from trimllm.compress.external import ENGINES, engine_python, variable  # noqa: E402


def found(engine: str) -> Path:
    """The Python of an engine's environment; `UserError` where it cannot be made."""
    try:
        importlib.metadata.version(engine)
        return Path(sys.executable)
    except importlib.metadata.PackageNotFoundError:
        pass
    try:
        return engine_python(engine)
    except UserError:
        if variable(engine) in os.environ:  # named, and wrong: nothing is made in its place
            raise
        stamp = f".envs/{ENGINES[engine][0]}/.complete"
        built = subprocess.run(["make", "-C", ROOT, stamp], stdout=sys.stderr)
        if built.returncode:
            raise UserError(f"the environment of {engine} cannot be made (see above)") from None
        return ROOT / Path(stamp).parent / "bin/python"


if __name__ == "__main__":
    try:
        print(found(sys.argv[1]))
    except (UserError, OSError) as error:
        sys.exit(f"error: {error}")
