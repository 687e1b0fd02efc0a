"""The compressors: engines, settings, margins, packages. Imports no torch: planning reads this."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class CompressSettings:
    """How to compress."""

    group_size: int = 64  # weights that share a scale in the four-bit formats
    max_tokens: int = 512  # of a row of calibration texts
    kept: float = 0.5  # share of the sublayers' parameters that structured pruning keeps
    seed: int = 0
    threads: int = 1  # of an external engine, and of the process that checks the result
    device: str = "cpu"  # or "cuda"
    python: Path | None = None  # interpreter of an external engine; None looks in `.envs`


@dataclass(frozen=True)
class Method:
    """What is known of a compressor without running it."""

    engines: dict[str, tuple[str, ...]]  # with the packages that each needs; the first is default
    settings: tuple[str, ...]  # keys of `CompressSettings` that the result depends on
    yardstick: str  # the plainest way to the same size, which the result is compared with
    # Nats a token by which held-back answers may be worse than the yardstick's; a corrupt
    # checkpoint is worse by nats.
    margin: float
    calibrated: bool = True  # whether it reads calibration texts


INT4, INT8 = "round to nearest, int4", "round to nearest, int8"
FOUR_BIT = ("group_size", "max_tokens")
METHODS = {
    # AWQ and GPTQ can lose a little on texts that they have not seen; and weights that had four
    # bits before, as the embedded default's, lie on a grid that plain rounding mostly keeps.
    "awq_int4": Method(
        {"llmcompressor": ("llmcompressor", "gptqmodel"), "autoawq": ("gptqmodel",)},
        *(FOUR_BIT, INT4, 0.25),
    ),
    "gptq_int4": Method(
        {"gptqmodel": ("gptqmodel", "optimum"), "auto-gptq": ("gptqmodel", "optimum")},
        *(FOUR_BIT, INT4, 0.25),
    ),
    "sparsegpt_2_4": Method(
        {"llmcompressor": ("llmcompressor",)}, ("max_tokens",), "magnitude, 2:4", 0.0
    ),
    # It rounds inputs too, its yardstick weights alone: 0.05 nats after FinanceQA's Full-FT.
    "llm_int8": Method(
        {"bitsandbytes": ("bitsandbytes",)}, ("max_tokens",), INT8, 0.25, calibrated=False
    ),
    "llm_pruner": Method({"torch": ("torch",)}, ("max_tokens", "kept"), "random structures", 0.0),
}
EXTERNAL = {"autoawq": "autoawq", "auto-gptq": "auto_gptq"}
"""Engines that need an older transformers -> their environment under `.envs` (`make envs`)."""


def default_engine(method: str) -> str:
    """The engine of a method when none is named."""
    return next(iter(METHODS[method].engines))


def missing_package(method: str, engine: str) -> str | None:
    """A package that an engine needs and that is not installed, or None."""
    needed = METHODS[method].engines[engine]
    return next((name for name in needed if importlib.util.find_spec(name) is None), None)
