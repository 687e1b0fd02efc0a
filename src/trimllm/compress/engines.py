"""Which compressors there are, what their engines need, and engines with a Python of their own.

autoawq and auto-gptq need an older transformers than everything else here. Each has an
environment of its own (`make envs`, or conda; see envs/README.md) and a worker in `workers/` that
runs there and knows nothing of trimllm. A job goes in as one JSON file, a checkpoint and a report
come out. Imports nothing but the standard library: planning reads this, and programs of other
environments.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trimllm.base import environments, files
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

SETTINGS: dict[str, tuple[str, ...]] = {
    "awq_int4": ("group_size", "max_tokens"),
    "gptq_int4": ("group_size", "max_tokens"),
    "sparsegpt_2_4": ("max_tokens",),
    "llm_int8": ("max_tokens",),
    "llm_pruner": ("max_tokens", "kept"),
}
"""Method -> the keys of `CompressSettings` that its result depends on; `max_tokens` cuts what every
checkpoint proves itself on."""

ENGINES = {
    "autoawq": ("autoawq", "autoawq_worker.py"),
    "auto-gptq": ("auto_gptq", "auto_gptq_worker.py"),
}
"""Engines with an environment of their own, by the name of their package -> (folder of the
environment, the worker that runs there)."""

WORKERS = Path(__file__).parent / "workers"


@dataclass(frozen=True)
class CompressSettings:
    """How to compress."""

    group_size: int = 64  # weights that share a scale in the four-bit formats
    max_tokens: int = 512  # of a calibration text; longer ones are cut
    min_texts: int = 8  # below which a compressor that needs calibration texts refuses to work
    kept: float = 0.5  # share of the units' parameters that structured pruning keeps
    seed: int = 0  # of what an engine draws at random
    threads: int = 1  # of the engine
    device: str = "cpu"  # or "cuda"
    python: Path | None = None  # interpreter of an engine that has an environment of its own


def default_engine(method: str) -> str:
    """The engine that a method uses when none is named."""
    return next(iter(METHODS[method]))


def missing_package(method: str, engine: str | None = None) -> str | None:
    """A package that an engine needs and that is not installed, or None."""
    needed = METHODS[method][engine or default_engine(method)]
    return next((name for name in needed if importlib.util.find_spec(name) is None), None)


def variable(engine: str) -> str:
    """The environment variable that names the Python of an engine's environment."""
    return environments.variable(ENGINES[engine][0])


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
    return environments.python_of(engine, ENGINES[engine][0], "envs", python)


def run_engine(
    engine: str,
    dense: Path,
    blocks: list[list[int]],
    workspace: Path,
    settings: CompressSettings,
) -> tuple[Path, dict[str, Any]]:
    """Quantize `dense`, a stock checkpoint in float32, to int4 by one of `ENGINES`.

    Args:
        blocks: calibration tokens in lists of one length.
        workspace: an empty folder to work in, which the caller removes.

    Returns:
        (folder of the quantized weights and their config.json, in the format that transformers
        loads; what the worker reports: engine, versions, seconds, calibration tokens used)

    Raises `UserError` where the engine is not installed or failed.
    """
    python, output = engine_python(engine, settings.python), workspace / "made"
    output.mkdir()
    job, report = workspace / "job.json", workspace / "report.json"
    paths = {"dense": dense, "output": output, "report": report}
    told = {name: str(path.absolute()) for name, path in paths.items()}
    told |= {name: getattr(settings, name) for name in ("group_size", "device", "seed")}
    files.write_json(job, told | {"blocks": blocks})
    _call(engine, [python, WORKERS / ENGINES[engine][1], job], settings)
    if not report.is_file() or not any(output.glob("*.safetensors")):
        raise UserError(f"the engine {engine} ended without a checkpoint; check its environment")
    return output, files.read_json(report)


def _call(engine: str, command: list[Path], settings: CompressSettings) -> None:
    """Run a worker, offline and with its own packages only; what it prints is passed on."""
    environment = environments.own_packages(settings.threads)
    if settings.device == "cpu":  # engines take a GPU wherever they see one
        environment["CUDA_VISIBLE_DEVICES"] = ""
    last = "it wrote no message"
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            encoding="utf-8",
            errors="replace",
        )
    except OSError as error:
        raise UserError(f"the engine {engine} cannot be started: {error}") from error
    with process:
        try:
            # Progress bars end their lines by a carriage return; text mode makes them lines too.
            for line in process.stdout or ():
                if not line.strip():
                    continue
                last = line.strip()
                print(f"{engine}: {line.rstrip()}", file=sys.stderr, flush=True)
            code = process.wait()
        finally:
            process.kill()
    if code:
        how = f"killed by signal {-code}; too little memory?" if code < 0 else f"exit status {code}"
        remedy = "; run `make envs`" if last.startswith("ModuleNotFoundError") else ""
        last = last.removeprefix("error: ")
        raise UserError(f"the engine {engine} failed ({how}): {last}{remedy}")
