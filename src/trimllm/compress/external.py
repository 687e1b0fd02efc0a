"""Engines that cannot live in the main environment: their own Python does the work.

autoawq and auto-gptq need an older transformers than everything else here. Each has an
environment of its own (`make envs`, or conda; see envs/README.md) and a worker in `workers/` that
runs there and knows nothing of trimllm. A job goes in as one JSON file, a checkpoint comes out.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import deque
from pathlib import Path
from typing import Any

from trimllm.base import files
from trimllm.base.errors import UserError

BITS = 4
WORKERS = Path(__file__).parent / "workers"
# Engine -> (folder of its environment, its worker). The engine's name is its package's.
ENGINES = {
    "autoawq": ("autoawq", "autoawq_worker.py"),
    "auto-gptq": ("auto_gptq", "auto_gptq_worker.py"),
}
# Lines of a worker's log kept for the error message, where the worker names no cause itself.
TAIL = 3


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
    folder = ENGINES[engine][0]
    name = variable(engine)
    if python is not None or (python := os.environ.get(name)):
        if not os.access(python, os.X_OK) or Path(python).is_dir():
            raise UserError(
                f"the engine {engine} is not installed: {python} cannot be run; correct the path "
                f"(or {name}), or run `make envs`"
            )
        return Path(python).absolute()
    for root in (Path.cwd(), Path(__file__).resolve().parents[3]):
        environment = root / ".envs" / folder
        # The stamp is made last: an environment without it was left half-made.
        if (environment / ".complete").is_file() and os.access(environment / "bin/python", os.X_OK):
            return environment / "bin/python"
    raise UserError(
        f"the engine {engine} is not installed: run `make envs` in the project's folder, or name "
        f"the Python of its environment in {name}"
    )


def engine_available(engine: str, python: Path | None = None) -> str:
    """Check that an engine can be started; returns its version.

    Raises:
        UserError: its environment is missing, or does not hold the engine.
    """
    python = engine_python(engine, python)
    program = f"from importlib.metadata import version; print(version({engine!r}))"
    try:
        answer = subprocess.run(
            [python, "-c", program], env=_environment(1, "cpu"), capture_output=True, text=True
        )
    except OSError as error:
        raise UserError(f"the engine {engine} is not installed: {python}: {error}") from error
    if answer.returncode or not answer.stdout.strip():
        raise UserError(
            f"the engine {engine} is not installed: {python} does not have it; run `make envs`"
        )
    return answer.stdout.strip()


def run_engine(
    engine: str,
    dense: Path,
    output: Path,
    texts: list[str],
    *,
    group_size: int,
    max_tokens: int,
    threads: int,
    device: str,
    seed: int,
    python: Path | None = None,
) -> dict[str, Any]:
    """Quantize a stock dense checkpoint to int4 by an external engine.

    Args:
        engine: "autoawq" or "auto-gptq".
        dense: a stock checkpoint of safetensors with its tokenizer.json.
        output: directory of the quantized checkpoint, in the format that transformers loads;
            it appears whole or not at all, and replaces what was there.
        texts: calibration texts.
        group_size: weights that share a scale; divides the width of every quantized layer.
        max_tokens: longest calibration text, in tokens.
        threads: CPU threads of the worker.
        device: "cpu" or "cuda".
        seed: of the worker's random numbers.
        python: Python of the engine's environment (see `engine_python`).

    Returns:
        What the worker reports: engine, versions, seconds, tokens (calibration tokens used).

    Raises:
        UserError: the engine is not installed, an argument does not fit, or the engine failed.
    """
    dense, output = Path(dense).absolute(), Path(output).absolute()
    python = engine_python(engine, python)
    _check(engine, dense, texts, group_size)
    temporary = files.new_sibling(output)
    try:
        with tempfile.TemporaryDirectory(prefix="trimllm-") as folder:
            files.write_jsonl(Path(folder) / "texts.jsonl", [{"text": text} for text in texts])
            job = {
                "dense": str(dense),
                "output": str(temporary),
                "texts": str(Path(folder) / "texts.jsonl"),
                "bits": BITS,
                "group_size": group_size,
                "max_tokens": max_tokens,
                "threads": threads,
                "device": device,
                "seed": seed,
            }
            files.write_json(Path(folder) / "job.json", job)
            worker = WORKERS / ENGINES[engine][1]
            answer = _call(engine, [python, worker, Path(folder) / "job.json"], threads, device)
        report = _report(engine, answer)
        _check_output(engine, temporary)
        temporary.chmod(0o755)
        files.publish(temporary, output)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return report


def _check(engine: str, dense: Path, texts: list[str], group_size: int) -> None:
    if not any(text.strip() for text in texts):
        raise UserError(f"{engine} needs calibration texts, and got none with any words")
    for name in ("config.json", "tokenizer.json"):
        if not (dense / name).is_file():
            raise UserError(f"{dense} is no checkpoint that {engine} can read: it has no {name}")
    config = files.read_json(dense / "config.json")
    if "quantization_config" in config:
        raise UserError(f"{dense} is compressed already; {engine} needs the dense checkpoint")
    widths = {key: config.get(key) for key in ("hidden_size", "intermediate_size", "ffn_dim")}
    for key, width in widths.items():
        if width is not None and width % group_size:
            raise UserError(
                f"group size {group_size} does not divide {key} = {width} of {dense}; choose one "
                "that does"
            )


def _environment(threads: int, device: str) -> dict[str, str]:
    """A worker's environment: offline, its own packages only, this many threads."""
    foreign = ("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "VIRTUAL_ENV")
    environment = {name: text for name, text in os.environ.items() if name not in foreign}
    for name in ("OMP", "MKL", "OPENBLAS", "NUMEXPR", "RAYON"):
        environment[f"{name}_NUM_THREADS"] = str(threads)
    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE"):
        environment[name] = "1"
    environment |= {
        "PYTHONNOUSERSITE": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONIOENCODING": "utf-8",
        "TOKENIZERS_PARALLELISM": "false",
    }
    if device == "cpu":
        environment["CUDA_VISIBLE_DEVICES"] = ""
    return environment


def _call(engine: str, command: list[Path], threads: int, device: str) -> str:
    """Run a worker, its stderr passed on line by line; returns its stdout."""
    tail: deque[str] = deque(maxlen=TAIL)
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as answer:
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=answer,
                stderr=subprocess.PIPE,
                env=_environment(threads, device),
                encoding="utf-8",
                errors="replace",
            )
        except OSError as error:
            raise UserError(f"the engine {engine} cannot be started: {error}") from error
        try:
            # Progress bars end their lines by a carriage return; text mode makes them lines too.
            for line in process.stderr:
                if line.strip():
                    tail.append(line.strip())
                    print(f"{engine}: {line.rstrip()}", file=sys.stderr, flush=True)
            code = process.wait()
        finally:
            process.kill()
            process.wait()
            process.stderr.close()
        if code:
            raise UserError(f"the engine {engine} failed ({_ending(code)}): {_cause(tail)}")
        answer.seek(0)
        return answer.read()


def _ending(code: int) -> str:
    return f"killed by signal {-code}; too little memory?" if code < 0 else f"exit status {code}"


def _cause(tail: deque[str]) -> str:
    """What a worker says last: its own error line, else the end of its log."""
    if tail and tail[-1].startswith("error: "):
        return tail[-1].removeprefix("error: ")
    return " | ".join(tail) or "it wrote no message"


def _report(engine: str, answer: str) -> dict[str, Any]:
    """The JSON object on the last line of a worker's stdout."""
    last = answer.strip().rsplit("\n", 1)[-1]
    try:
        report = json.loads(last)
    except json.JSONDecodeError:
        report = None
    if not isinstance(report, dict) or report.get("engine") != engine:
        raise UserError(
            f"the engine {engine} ended without a report (its last line: {last[:80]!r}); check "
            "its environment"
        )
    return report


def _check_output(engine: str, directory: Path) -> None:
    """A checkpoint is a quantized config and safetensors; a pickle is none."""
    if not any(directory.glob("*.safetensors")) or not (directory / "config.json").is_file():
        raise UserError(f"the engine {engine} reported success but wrote no checkpoint")
    if "quantization_config" not in files.read_json(directory / "config.json"):
        raise UserError(f"the engine {engine} wrote a config.json without quantization_config")
