"""Configurations of the project, as the pipeline reads them."""

from functools import cache
from pathlib import Path
from typing import Any

from trimllm_paper import invocation
from trimllm_paper.config import Config, load

ROOT = Path(__file__).parents[2]
KEPT = ROOT / "results/reference"


@cache
def configuration(*names: str) -> Config:
    """Files of config/, each on top of those before it."""
    files = [ROOT / "config" / f"{name}.yaml" for name in names]
    return load(invocation.configuration(files), files)


def with_compute(config: Config, **compute: Any) -> Config:
    """The same with other keys of `compute`."""
    changed = config.compute.model_copy(update=compute)
    return config.model_copy(update={"compute": changed})
