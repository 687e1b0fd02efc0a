"""The pipeline: knows the paper, the configuration, files and Snakemake.

`trimllm_paper.frame("results")` gives all results as pandas frames. It is imported on first use:
a workflow is planned without pandas.
"""

from __future__ import annotations

from typing import Any

__all__ = ["frame"]


def __getattr__(name: str) -> Any:
    if name == "frame":
        from trimllm_paper.frames import frame

        return frame
    raise AttributeError(f"module 'trimllm_paper' has no attribute {name!r}")
