"""Engines that cannot live in the main environment: their own Python does the work.

autoawq and auto-gptq need an older transformers than everything else here. Each has an
environment of its own (`make envs`, or conda; see envs/README.md) and a worker in `workers/` that
runs there and knows nothing of trimllm. A job goes in as one JSON file, a checkpoint and a report
come out. Light, as `methods` is.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trimllm.base import files
from trimllm.base.errors import UserError
from trimllm.compress.methods import ENGINES, engine_python, variable

if TYPE_CHECKING:
    from trimllm.compress.job import CompressSettings

__all__ = ["ENGINES", "engine_python", "run_engine", "variable"]

WORKERS = Path(__file__).parent / "workers"


def run_engine(
    engine: str,
    dense: Path,
    blocks: list[list[int]],
    workspace: Path,
    settings: CompressSettings,
) -> tuple[Path, dict[str, Any]]:
    """Quantize a stock dense checkpoint to int4 by an external engine.

    Args:
        engine: "autoawq" or "auto-gptq".
        dense: a stock checkpoint in float32, one safetensors file.
        blocks: calibration tokens in lists of one length.
        workspace: an empty folder to work in, which the caller removes.

    Returns:
        (folder of the quantized weights and their config.json, in the format that transformers
        loads; what the worker reports: engine, versions, seconds, calibration tokens used)

    Raises:
        UserError: the engine is not installed, or it failed.
    """
    python, output = engine_python(engine, settings.python), workspace / "made"
    output.mkdir()
    job, report = workspace / "job.json", workspace / "report.json"
    paths = {"dense": dense, "output": output, "report": report}
    told = {name: str(path.absolute()) for name, path in paths.items()}
    told |= {name: getattr(settings, name) for name in ("group_size", "device", "seed")}
    files.write_json(job, told | {"blocks": blocks})
    command = [python, WORKERS / ENGINES[engine][1], job]
    _call(engine, command, settings.threads, settings.device)
    if not report.is_file() or not any(output.glob("*.safetensors")):
        raise UserError(f"the engine {engine} ended without a checkpoint; check its environment")
    return output, files.read_json(report)


def _environment(threads: int, device: str) -> dict[str, str]:
    """A worker's environment: offline, its own packages only, this many threads.

    Engines take a GPU wherever they see one, so it is hidden where the CPU was asked for.
    """
    foreign = ("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "VIRTUAL_ENV")
    environment = {name: text for name, text in os.environ.items() if name not in foreign}
    for name in ("OMP", "MKL", "OPENBLAS", "NUMEXPR", "RAYON"):
        environment[f"{name}_NUM_THREADS"] = str(threads)
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE"):
        environment[name] = "1"
    for name in ("PYTHONNOUSERSITE", "PYTHONUNBUFFERED"):
        environment[name] = "1"
    environment |= {"PYTHONIOENCODING": "utf-8", "TOKENIZERS_PARALLELISM": "false"}
    if device == "cpu":
        environment["CUDA_VISIBLE_DEVICES"] = ""
    return environment


def _call(engine: str, command: list[Path], threads: int, device: str) -> None:
    """Run a worker; what it prints is passed on line by line."""
    last = "it wrote no message"
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=_environment(threads, device),
            encoding="utf-8",
            errors="replace",
        )
    except OSError as error:
        raise UserError(f"the engine {engine} cannot be started: {error}") from error
    with process:
        try:
            # Progress bars end their lines by a carriage return; text mode makes them lines too.
            for line in process.stdout:
                if line.strip():
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
