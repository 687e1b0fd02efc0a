"""Environments of processes: ours, and the Python of engines that cannot live with the others."""

from __future__ import annotations

import os
from pathlib import Path

from trimllm.base.errors import UserError


def variable(folder: str) -> str:
    """The environment variable that names the Python of `.envs/FOLDER`."""
    return f"TRIMLLM_{folder.upper()}_PYTHON"


def python_of(engine: str, folder: str, target: str, python: str | Path | None = None) -> Path:
    """The Python of an engine's environment: `python`, else the variable, else what make built.

    Args:
        engine: its name, for people.
        folder: of the environment, in `.envs` of the working directory or the project's folder.
        target: of make, which builds it.

    Raises `UserError` where there is no Python that can be run.
    """
    name = variable(folder)
    if python is not None or (python := os.environ.get(name)):
        if not os.access(python, os.X_OK) or Path(python).is_dir():
            raise UserError(
                f"the engine {engine} is not installed: {python} cannot be run; correct the path "
                f"(or {name}), or run `make {target}`"
            )
        return Path(python).absolute()
    for root in (Path.cwd(), Path(__file__).resolve().parents[3]):
        environment = root / ".envs" / folder
        # The stamp is made last: an environment without it was left half-made.
        if (environment / ".complete").is_file() and os.access(environment / "bin/python", os.X_OK):
            return environment / "bin/python"
    raise UserError(
        f"the engine {engine} is not installed: run `make {target}` in the project's folder, or "
        f"name the Python of its environment in {name}"
    )


def ours(threads: int) -> dict[str, str]:
    """Variables of a process that imports trimllm from here: offline, with so many threads."""
    source = str(Path(__file__).parents[2])
    path = [source, *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {
        "PYTHONPATH": os.pathsep.join(path),
        **{f"{name}_NUM_THREADS": str(threads) for name in ("OMP", "MKL", "OPENBLAS")},
        "TRANSFORMERS_VERBOSITY": "error",
        "HF_HUB_OFFLINE": "1",
    }


def own_packages(threads: int) -> dict[str, str]:
    """Variables for a program of such an environment: offline, with its own packages only."""
    foreign = ("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "VIRTUAL_ENV")
    environment = {name: text for name, text in os.environ.items() if name not in foreign}
    for name in ("OMP", "MKL", "OPENBLAS", "NUMEXPR", "RAYON"):
        environment[f"{name}_NUM_THREADS"] = str(threads)
    offline = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE")
    environment |= dict.fromkeys((*offline, "PYTHONNOUSERSITE", "PYTHONUNBUFFERED"), "1")
    return environment | {"PYTHONIOENCODING": "utf-8", "TOKENIZERS_PARALLELISM": "false"}
