"""The pipeline: knows the paper, the configuration, files and Snakemake."""

from typing import Any


def frame(results: Any = "results", replicates: Any = ()) -> Any:
    """All results of a folder as pandas frames, see `trimllm_paper.frames.frame`."""
    from trimllm_paper import frames  # a workflow is planned without pandas

    return frames.frame(results, replicates)
