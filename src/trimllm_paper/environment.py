"""What a process of a job finds in its environment; set before anything heavy is imported."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

from trimllm.base.names import ADAPTERS


def set_environment(
    threads: int, online: bool, models: Mapping[str, Mapping[str, Any]] | None = None
) -> None:
    """What a process of a job finds: its number of threads, no network unless `online`, and the
    families of the configuration's models that come from outside of this project."""
    for name in ("OMP", "MKL", "OPENBLAS", "NUMEXPR", "RAYON"):
        os.environ[f"{name}_NUM_THREADS"] = str(threads)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    for name in ("TRANSFORMERS_VERBOSITY", "DATASETS_VERBOSITY"):
        os.environ.setdefault(name, "error")
    # Matrix products on a GPU that give the same bytes each time.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if not online:
        os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = "1"
    if models is not None:
        families = {model["family"] for model in models.values()}
        os.environ[ADAPTERS] = " ".join(sorted(name for name in families if ":" in name))
    if torch := sys.modules.get("torch"):  # imported before, with other threads
        torch.set_num_threads(threads)
