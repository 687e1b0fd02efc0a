"""Which compressors there are, what their engines need, and where engines of their own lie.

Imports nothing but the standard library: planning reads it, and programs of other environments.
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

from trimllm.base.errors import UserError

METHODS: dict[str, dict[str, tuple[str, ...]]] = {
    "awq_int4": {"llmcompressor": ("llmcompressor", "gptqmodel"), "autoawq": ("gptqmodel",)},
    "gptq_int4": {"gptqmodel": ("gptqmodel", "optimum"), "auto-gptq": ("gptqmodel", "optimum")},
    "sparsegpt_2_4": {"llmcompressor": ("llmcompressor",)},
    "llm_int8": {"bitsandbytes": ("bitsandbytes",)},
    "llm_pruner": {"torch-pruning": ("torch_pruning",)},
}
"""Method, which is also the name of its file -> engine -> packages that must be installed here. The
first engine of a method is its default."""

ENGINES = {
    "autoawq": ("autoawq", "autoawq_worker.py"),
    "auto-gptq": ("auto_gptq", "auto_gptq_worker.py"),
}
"""Engines with an environment of their own, by the name of their package -> (folder of the
environment, the worker that runs there)."""


def default_engine(method: str) -> str:
    """The engine that a method uses when none is named."""
    return next(iter(METHODS[method]))


def missing_package(method: str, engine: str | None = None) -> str | None:
    """A package that an engine needs and that is not installed, or None."""
    needed = METHODS[method][engine or default_engine(method)]
    return next((name for name in needed if importlib.util.find_spec(name) is None), None)


def variable(engine: str) -> str:
    """The environment variable that names the Python of an engine's environment."""
    return f"TRIMLLM_{ENGINES[engine][0].upper()}_PYTHON"


def engine_python(engine: str, python: Path | None = None) -> Path:
    """The Python of an engine's environment: `python`, else the variable, else what make built.

    The variable is TRIMLLM_AUTOAWQ_PYTHON or TRIMLLM_AUTO_GPTQ_PYTHON; `make envs` builds
    `.envs/autoawq` and `.envs/auto_gptq` in the project's folder, looked for in the working
    directory first.

    Raises:
        UserError: no such engine, or no Python there.
    """
    if engine not in ENGINES:
        raise UserError(f"there is no external engine {engine!r}; choose from {', '.join(ENGINES)}")
    name = variable(engine)
    if python is not None or (python := os.environ.get(name)):
        if not os.access(python, os.X_OK) or Path(python).is_dir():
            raise UserError(
                f"the engine {engine} is not installed: {python} cannot be run; correct the path "
                f"(or {name}), or run `make envs`"
            )
        return Path(python).absolute()
    for root in (Path.cwd(), Path(__file__).resolve().parents[3]):
        environment = root / ".envs" / ENGINES[engine][0]
        # The stamp is made last: an environment without it was left half-made.
        if (environment / ".complete").is_file() and os.access(environment / "bin/python", os.X_OK):
            return environment / "bin/python"
    raise UserError(
        f"the engine {engine} is not installed: run `make envs` in the project's folder, or name "
        f"the Python of its environment in {name}"
    )
