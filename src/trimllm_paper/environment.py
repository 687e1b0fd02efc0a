"""What a process of a job finds in its environment; set before anything heavy is imported."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

from trimllm.base.names import ADAPTERS


def adapters_of(models: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Environment variable of the families of a configuration's models that come from outside of
    this project."""
    families = {model["family"] for model in models.values()}
    return {ADAPTERS: " ".join(sorted(name for name in families if ":" in name))}


def set_environment(threads: int, online: bool) -> None:
    """What a process of a job finds: its number of threads, and no network unless `online`."""
    for name in ("OMP", "MKL", "OPENBLAS", "NUMEXPR", "RAYON"):
        os.environ[f"{name}_NUM_THREADS"] = str(threads)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    for name in ("TRANSFORMERS_VERBOSITY", "DATASETS_VERBOSITY"):
        os.environ.setdefault(name, "error")
    # Matrix products on a GPU that give the same bytes each time.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if not online:
        os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = "1"
    if torch := sys.modules.get("torch"):  # imported before, with other threads
        torch.set_num_threads(threads)
