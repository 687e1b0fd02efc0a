"""Engines that run exports, each in a process of its own with a script of `workers`.

A script's `Worker` has `answer(question)` for the proof of an export, and in llama.cpp and vLLM
`facts` (version, versions, kernel) and `time(prompts, generate)`: seconds of prompts and of the
tokens that follow.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from trimllm.base import workers
from trimllm.exporting.formats import VLLM, vllm_python

WORKERS = Path(__file__).parent / "workers"


@contextmanager
def start(
    engine: str, path: str | Path, threads: int, name: str = "", **job: Any
) -> Iterator[workers.Worker]:
    """A running engine, which ends with the `with` block.

    Args:
        engine: "llama_cpp", "vllm" or "transformers".
        path: a GGUF file for llama.cpp, else a checkpoint directory.
        name: in messages; by default the engine's.
        job: further arguments of its `Worker`.
    """
    python, variables = sys.executable, workers.environment(threads)
    with tempfile.TemporaryDirectory() as workspace:
        if engine == VLLM:
            python = str(vllm_python())
            variables = workers.environment(threads, isolated=True) | {
                "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # its errors are then those of our child
                "VLLM_CPU_OMP_THREADS_BIND": "nobind",
                "VLLM_NO_USAGE_STATS": "1",
                "VLLM_LOGGING_LEVEL": "ERROR",
                "VLLM_CACHE_ROOT": f"{workspace}/vllm",
                "VLLM_CONFIG_ROOT": f"{workspace}/vllm",
                "HF_MODULES_CACHE": f"{workspace}/modules",
            }
        with workers.Worker(
            WORKERS / f"{engine}_worker.py",
            {"path": str(path), "threads": threads, **job},
            name=name or engine,
            python=python,
            variables=variables,
        ) as worker:
            yield worker
