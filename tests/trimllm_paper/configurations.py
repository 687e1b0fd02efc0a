"""Configurations of the project, as the pipeline reads them."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from trimllm_paper.config import Config, load, read_yaml

ROOT = Path(__file__).parents[2]
KEPT = ROOT / "results/reference"


@cache
def configuration(name: str) -> Config:
    """A file of config/."""
    file = ROOT / "config" / f"{name}.yaml"
    return load(read_yaml(file), [file])


def with_compute(config: Config, **compute: Any) -> Config:
    """The same with other keys of `compute`."""
    changed = config.compute.model_copy(update=compute)
    return config.model_copy(update={"compute": changed})
